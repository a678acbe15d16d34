// A shop on node-postgres: `node shop.js PROGRAM` runs one of the programs below for all clients at once and
// prints what they found as JSON. Where the database is comes from the environment.
'use strict';

const assert = require('node:assert');
const { pipeline } = require('node:stream/promises');
const { Readable } = require('node:stream');
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const copy = require('pg-copy-streams');

const CLIENTS = Number(process.env.CLIENTS);
const numbers = (count, first = 0) => Array.from({ length: count }, (_, n) => n + first);
const everybody = (work) => Promise.all(numbers(CLIENTS).map(work));

async function connected(options, work) {
  const client = new Client(options);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const value = async (client, text, values) => Object.values((await client.query(text, values)).rows[0])[0];

// Named statements in a transaction, savepoints, some orders given up.
async function placeOrder(client, customer, turn) {
  await client.query('BEGIN');
  const order = await value(
    client,
    { name: 'new-order', text: 'INSERT INTO orders (customer) VALUES ($1) RETURNING id' },
    [customer],
  );
  for (const product of [1 + (turn % 3), 4 + (customer % 3)]) {
    const take = 'UPDATE product SET stock = stock - $1 WHERE id = $2 RETURNING price';
    const price = await value(client, { name: 'take', text: take }, [2, product]);
    await client.query('INSERT INTO order_line VALUES ($1, $2, $3)', [order, product, 2]);
    const sum = 'UPDATE orders SET total = total + $1::numeric * 2 WHERE id = $2';
    await client.query({ name: 'sum', text: sum, values: [price, order] });
  }
  await client.query('SAVEPOINT s');
  await assert.rejects(client.query('UPDATE product SET stock = -1 WHERE id = 1'), { code: '23514' });
  await client.query('ROLLBACK TO s');
  await client.query(turn % 4 === 3 ? 'ROLLBACK' : 'COMMIT');
}

async function orders() {
  const pool = new Pool({ max: CLIENTS });
  await everybody(async (customer) => {
    for (const turn of numbers(12)) {
      const client = await pool.connect();
      await placeOrder(client, customer, turn);
      client.release();
    }
  });
  await pool.end();
  return CLIENTS * 9;
}

// The tenant by SET on connect, as the documentation of pools has it, or in the startup message.
async function tenants() {
  return everybody(async (number) => {
    const me = `tenant-${number}`;
    const options = number % 2 ? { options: `-c app.tenant=${me}` } : {};
    return connected(options, async (client) => {
      if (number % 2 === 0) await client.query(`SET app.tenant = '${me}'`);
      for (const turn of numbers(10)) {
        await client.query('INSERT INTO note (body) VALUES ($1)', [`${me}: ${turn}`]);
        assert.equal(await value(client, { name: 'count', text: 'SELECT count(*) FROM note' }), turn + 1);
      }
      return value(client, 'SHOW app.tenant');
    });
  });
}

// A statement has a name once; under another text the driver itself refuses it, and PostgreSQL never hears of it.
async function statements() {
  return everybody((number) =>
    connected({}, async (client) => {
      const found = [];
      for (const turn of numbers(4)) {
        const answers = numbers(10).map((n) =>
          client.query({ name: `add-${n}`, text: `SELECT $1::int + ${n} AS sum`, values: [number] }),
        );
        for (const answer of answers) found.push((await answer).rows[0].sum);
        if (turn === 1) {
          await assert.rejects(client.query({ name: 'bad', text: 'SELECT nothing' }), { code: '42703' });
        }
      }
      return found;
    }),
  );
}

// Others listen than those who speak, more of them than there are servers.
async function notifications() {
  const listeners = CLIENTS / 2;
  const count = 8;
  const clients = await everybody(async () => {
    const client = new Client();
    await client.connect();
    return client;
  });
  const heard = clients.slice(0, listeners).map(() => []);
  const all = clients.slice(0, listeners).map((client, number) => {
    return new Promise((resolve) => {
      client.on('notification', (message) => {
        assert.equal(message.channel, 'news');
        heard[number].push(message.payload);
        if (heard[number].length === count * (CLIENTS - listeners)) resolve();
      });
    });
  });
  for (const client of clients.slice(0, listeners)) await client.query('LISTEN news');
  await Promise.all(
    clients.slice(listeners).map(async (client, number) => {
      for (const turn of numbers(count)) {
        await client.query('BEGIN');
        await client.query('SELECT pg_notify($1, $2)', ['news', `${number}-${turn}`]);
        await client.query(turn % 2 ? 'COMMIT' : 'END');
      }
    }),
  );
  await Promise.all(all);
  await Promise.all(clients.map((client) => client.end()));
  return heard;
}

// COPY by streams, and a cursor in a transaction.
async function streams() {
  return everybody((number) =>
    connected({}, async (client) => {
      const lines = numbers(400).map((n) => `line ${n}\t${number}\n`);
      const into = client.query(copy.from('COPY job (what, taken_by) FROM STDIN'));
      await pipeline(Readable.from(lines), into);
      let text = '';
      const mine = `SELECT what, taken_by FROM job WHERE taken_by = '${number}' ORDER BY id`;
      const out = client.query(copy.to(`COPY (${mine}) TO STDOUT`));
      for await (const part of out) text += part;
      assert.equal(text, lines.join(''));
      await client.query('BEGIN');
      const cursor = client.query(new Cursor('SELECT what FROM job WHERE taken_by = $1 ORDER BY id', [`${number}`]));
      let rows = 0;
      for (let part = await cursor.read(90); part.length; part = await cursor.read(90)) rows += part.length;
      await cursor.close();
      await client.query('COMMIT');
      return rows;
    }),
  );
}

// Things of the session: a lock, a temporary table, settings that are given back.
async function sessions() {
  return everybody((number) =>
    connected({ application_name: 'shop', statement_timeout: 40000 }, async (client) => {
      assert.equal(await value(client, 'SHOW statement_timeout'), '40s');
      await client.query('SELECT pg_advisory_lock(99)');
      const before = Number(await value(client, "SELECT coalesce(max(what), '0') FROM job"));
      await client.query('CREATE TEMPORARY TABLE mine AS SELECT 5 AS n');
      await client.query('DELETE FROM job');
      await client.query('INSERT INTO job (what) VALUES ($1)', [before + (await value(client, 'SELECT n FROM mine'))]);
      assert.equal(await value(client, 'SELECT pg_advisory_unlock(99)'), true);
      await client.query('DROP TABLE mine');
      await client.query("SET statement_timeout = '50s'");
      assert.equal(await value(client, 'SHOW statement_timeout'), '50s');
      await client.query('RESET ALL');
      assert.equal(await value(client, 'SHOW application_name'), 'shop');
      return value(client, 'SHOW statement_timeout');
    }),
  );
}

const programs = { orders, tenants, statements, notifications, streams, sessions };

programs[process.argv[2]]().then(
  (found) => console.log(JSON.stringify(found)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
