import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;

/** Asks a console: a URL, then statements; prints the number of rows, or what an order returned. */
public final class Console {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0]);
                Statement statement = connection.createStatement()) {
            for (int i = 1; i < arguments.length; i++) {
                int rows = 0;
                if (statement.execute(arguments[i])) {
                    try (ResultSet result = statement.getResultSet()) {
                        int columns = result.getMetaData().getColumnCount();
                        while (result.next()) {
                            rows++;
                            for (int column = 1; column <= columns; column++) {
                                result.getObject(column);
                            }
                        }
                    }
                }
                System.out.println(arguments[i] + ": " + rows);
            }
        }
    }
}
