// A shop on JDBC: `java Shop URL CLIENTS` reads names of the programs below, runs each in a thread for every client,
// prints what each client found, a line for a client, and an empty line.

import java.io.PrintWriter;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class Shop {
    interface Program {
        Object run(int number) throws Exception;
    }

    static String url;
    static int clients;
    static CyclicBarrier together;

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        clients = Integer.parseInt(arguments[1]);
        together = new CyclicBarrier(clients);
        Map<String, Program> programs = Map.of(
            "orders", Shop::orders,
            "autosave", Shop::autosave,
            "tenants", Shop::tenants,
            "cursors", Shop::cursors,
            "batches", Shop::batches,
            "copies", Shop::copies,
            "notifications", Shop::notifications,
            "sessions", Shop::sessions);
        ExecutorService threads = Executors.newFixedThreadPool(clients);
        Scanner names = new Scanner(System.in);
        while (names.hasNext()) {
            Program program = programs.get(names.next());
            List<Future<Object>> results = new ArrayList<>();
            for (int n = 0; n < clients; n++) {
                int number = n;
                results.add(threads.submit(() -> program.run(number)));
            }
            for (Future<Object> result : results) {
                System.out.println(outcome(result));
            }
            System.out.println();
            together.reset();
        }
        threads.shutdown();
    }

    static String outcome(Future<Object> result) throws InterruptedException {
        try {
            return "found " + result.get();
        } catch (ExecutionException failure) {
            StringWriter text = new StringWriter();
            failure.getCause().printStackTrace(new PrintWriter(text));
            return text.toString().replace("\n", " | ");
        }
    }

    static Connection open(String... properties) throws SQLException {
        return DriverManager.getConnection(url + "&" + String.join("&", properties));
    }

    static Object value(Connection connection, String text, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            for (int n = 0; n < values.length; n++) {
                statement.setObject(n + 1, values[n]);
            }
            try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                return rows.getObject(1);
            }
        }
    }

    static void run(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(text);
        }
    }

    static void check(boolean fact, Object what) {
        if (!fact) {
            throw new AssertionError(what);
        }
    }

    // Statements that the driver prepares by name at their fifth use; a savepoint that is needed each time.
    static Object orders(int customer) throws Exception {
        int kept = 0;
        try (Connection connection = open()) {
            connection.setAutoCommit(false);
            try (PreparedStatement order = connection.prepareStatement(
                        "INSERT INTO orders (customer) VALUES (?) RETURNING id");
                    PreparedStatement take = connection.prepareStatement(
                        "UPDATE product SET stock = stock - ? WHERE id = ? RETURNING price");
                    PreparedStatement line = connection.prepareStatement("INSERT INTO order_line VALUES (?, ?, ?)");
                    PreparedStatement sum = connection.prepareStatement(
                        "UPDATE orders SET total = total + ? WHERE id = ?")) {
                for (int turn = 0; turn < 16; turn++) {
                    order.setInt(1, customer);
                    long id = first(order).longValue();
                    for (int product : new int[] {1 + turn % 3, 4 + customer % 3}) {
                        take.setInt(1, 2);
                        take.setInt(2, product);
                        BigDecimal price = (BigDecimal) first(take);
                        line.setLong(1, id);
                        line.setInt(2, product);
                        line.setInt(3, 2);
                        check(line.executeUpdate() == 1, "a line");
                        sum.setBigDecimal(1, price.multiply(new BigDecimal(2)));
                        sum.setLong(2, id);
                        check(sum.executeUpdate() == 1, "a sum");
                    }
                    Savepoint savepoint = connection.setSavepoint();
                    try {
                        run(connection, "UPDATE product SET stock = -1 WHERE id = 1");
                        check(false, "less than nothing");
                    } catch (SQLException error) {
                        check(error.getSQLState().equals("23514"), error);
                        connection.rollback(savepoint);
                    }
                    if (turn % 4 == 3) {
                        connection.rollback();
                    } else {
                        connection.commit();
                        kept++;
                    }
                }
            }
        }
        return kept;
    }

    static Number first(PreparedStatement statement) throws SQLException {
        try (ResultSet rows = statement.executeQuery()) {
            rows.next();
            return (Number) rows.getObject(1);
        }
    }

    // autosave=always: the driver makes a savepoint before each statement and goes back to it after an error. A
    // table gets another column while its statements are prepared.
    static Object autosave(int number) throws Exception {
        try (Connection connection = open("autosave=always", "prepareThreshold=1")) {
            connection.setAutoCommit(false);
            int failed = 0;
            for (int turn = 0; turn < 8; turn++) {
                try {
                    value(connection, "SELECT 1 / ?::int", turn % 2);
                } catch (SQLException error) {
                    check(error.getSQLState().equals("22012"), error);
                    failed++;
                }
                run(connection, "INSERT INTO job (what) VALUES ('autosave')");
                check(((Number) value(connection, "SELECT count(*) FROM job WHERE id = 0")).intValue() == 0, "none");
                connection.commit();
                if (turn == 4) {
                    together.await(30, TimeUnit.SECONDS);
                    if (number == 0) {
                        run(connection, "ALTER TABLE job ADD COLUMN more int DEFAULT 3");
                        connection.commit();
                    }
                    together.await(30, TimeUnit.SECONDS);
                }
                try (PreparedStatement all = connection.prepareStatement("SELECT * FROM job LIMIT 1");
                        ResultSet rows = all.executeQuery()) {
                    check(rows.getMetaData().getColumnCount() == (turn < 4 ? 3 : 4), "columns");
                }
                connection.commit();
            }
            return failed;
        }
    }

    // The tenant in the startup message, or by SET as a pool's connectionInitSql.
    static Object tenants(int number) throws Exception {
        String me = "tenant-" + number;
        try (Connection connection = number % 2 == 0 ? open("options=-c%20app.tenant=" + me) : open()) {
            if (number % 2 == 1) {
                run(connection, "SET app.tenant = '" + me + "'");
            }
            for (int turn = 0; turn < 10; turn++) {
                try (PreparedStatement insert = connection.prepareStatement("INSERT INTO note (body) VALUES (?)")) {
                    insert.setString(1, me + ": " + turn);
                    insert.executeUpdate();
                }
                check(((Number) value(connection, "SELECT count(*) FROM note")).intValue() == turn + 1, "notes");
            }
            return value(connection, "SHOW app.tenant");
        }
    }

    // With a fetch size the driver reads a portal in parts, in a transaction; another statement runs in between.
    static Object cursors(int number) throws Exception {
        int count = 0;
        try (Connection connection = open()) {
            connection.setAutoCommit(false);
            for (int turn = 0; turn < 6; turn++) {
                try (PreparedStatement all = connection.prepareStatement(
                        "SELECT n FROM generate_series(1, ?::int) AS n ORDER BY n")) {
                    all.setFetchSize(40);
                    all.setInt(1, 150);
                    try (ResultSet rows = all.executeQuery()) {
                        while (rows.next()) {
                            count++;
                            if (count % 50 == 0) {
                                value(connection, "SELECT ?::int", count);
                            }
                        }
                    }
                }
                connection.commit();
            }
            // Holdable over a commit: the driver reads all of it at once.
            connection.setHoldability(ResultSet.HOLD_CURSORS_OVER_COMMIT);
            try (Statement statement = connection.createStatement();
                    ResultSet rows = statement.executeQuery("SELECT generate_series(1, 100)")) {
                connection.commit();
                while (rows.next()) {
                    count++;
                }
            }
            connection.commit();
        }
        return count;
    }

    // Many statements in one round trip, some of them failing; keys are returned; rewritten to long inserts too.
    static Object batches(int number) throws Exception {
        int rows = 0;
        for (String property : new String[] {"reWriteBatchedInserts=false", "reWriteBatchedInserts=true"}) {
            try (Connection connection = open(property);
                    PreparedStatement insert = connection.prepareStatement(
                        "INSERT INTO job (what, taken_by) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                connection.setAutoCommit(false);
                for (int turn = 0; turn < 7; turn++) {
                    for (int n = 0; n < 60; n++) {
                        insert.setString(1, turn == 5 && n == 50 ? null : "job " + n);
                        insert.setString(2, "" + number);
                        insert.addBatch();
                    }
                    try {
                        insert.executeBatch();
                        connection.commit();
                        rows += 60;
                    } catch (SQLException error) {
                        check(error.getSQLState().equals("23502"), error);
                        connection.rollback();
                    }
                }
            }
        }
        return rows;
    }

    static Object copies(int number) throws Exception {
        try (Connection connection = open()) {
            var copy = connection.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder text = new StringBuilder();
            for (int n = 0; n < 500; n++) {
                text.append("line ").append(n).append('\t').append(number).append('\n');
            }
            long in = copy.copyIn("COPY job (what, taken_by) FROM STDIN", new StringReader(text.toString()));
            try {
                copy.copyIn("COPY job (what) FROM STDIN", new StringReader("a\tb\n"));
                check(false, "one column");
            } catch (SQLException error) {
                check(error.getSQLState().equals("22P04"), error);
            }
            StringWriter out = new StringWriter();
            copy.copyOut("COPY (SELECT what, taken_by FROM job WHERE taken_by = '" + number
                + "' ORDER BY id) TO STDOUT", out);
            check(out.toString().equals(text.toString()), "the same text");
            return in;
        }
    }

    // One half listens, the other speaks.
    static Object notifications(int number) throws Exception {
        int listeners = clients / 2;
        List<String> heard = new ArrayList<>();
        try (Connection connection = open()) {
            if (number < listeners) {
                run(connection, "LISTEN news");
            }
            together.await(30, TimeUnit.SECONDS);
            for (int turn = 0; number >= listeners && turn < 8; turn++) {
                value(connection, "SELECT pg_notify('news', ?)", number + "-" + turn);
            }
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
            while (number < listeners && heard.size() < 8 * (clients - listeners)) {
                check(System.nanoTime() < end, "heard " + heard.size());
                PGNotification[] notes = connection.unwrap(PGConnection.class).getNotifications(500);
                for (PGNotification note : notes == null ? new PGNotification[0] : notes) {
                    heard.add(note.getParameter());
                }
            }
        }
        return String.join(" ", heard);
    }

    // Isolation levels and read only of the session, a temporary table, a lock, a time limit by cancel.
    static Object sessions(int number) throws Exception {
        try (Connection connection = open("currentSchema=public,pg_catalog", "readOnlyMode=always")) {
            for (int turn = 0; turn < 4; turn++) {
                connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                check(value(connection, "SHOW transaction_isolation").equals("serializable"), "serializable");
                connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
                connection.setReadOnly(true);
                check(value(connection, "SHOW transaction_read_only").equals("on"), "read only");
                connection.setReadOnly(false);
                run(connection, "CREATE TEMPORARY TABLE mine (n int)");
                run(connection, "INSERT INTO mine VALUES (" + number + ")");
                check(value(connection, "SELECT n FROM mine").equals(number), "mine");
                run(connection, "DROP TABLE mine");
                run(connection, "SELECT pg_advisory_lock(5)");
                check(value(connection, "SELECT pg_advisory_unlock(5)").equals(true), "unlocked");
                try (Statement slow = connection.createStatement()) {
                    slow.setQueryTimeout(1);
                    if (turn == 0) {
                        slow.execute("SELECT pg_sleep(30)");
                        check(false, "slept");
                    }
                } catch (SQLException error) {
                    check(error.getSQLState().equals("57014"), error);
                }
                check(value(connection, "SHOW search_path").equals("public,pg_catalog"), "search_path");
            }
            check(connection.isValid(5), "valid");
            return connection.getSchema();
        }
    }
}
