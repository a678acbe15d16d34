-- A database with one of most kinds of objects, and values that come out otherwise under other settings.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE place AS (street text, number int);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE SEQUENCE counter START 100 INCREMENT 7;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.touched := now();
    RETURN NEW;
END $$;
CREATE TABLE person (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    feels mood DEFAULT 'happy',
    lives place,
    age positive,
    doubled int GENERATED ALWAYS AS (twice(age)) STORED,
    touched timestamptz
);
CREATE TRIGGER touch BEFORE UPDATE ON person FOR EACH ROW EXECUTE FUNCTION touched();
INSERT INTO person (name, lives, age)
    SELECT 'Person ' || n || E' with a \\ and a ''', ROW('Street, ' || n, n)::place, n % 90 + 1
    FROM generate_series(1, 2000) AS n;
CREATE TABLE reading (
    at timestamptz NOT NULL, value float8, small float4, lasted interval, raw bytea, said json, number numeric
) PARTITION BY RANGE (at);
CREATE TABLE reading_old PARTITION OF reading FOR VALUES FROM (MINVALUE) TO ('2024-01-01 00:00+00');
CREATE TABLE reading_new PARTITION OF reading FOR VALUES FROM ('2024-01-01 00:00+00') TO (MAXVALUE);
INSERT INTO reading
    SELECT '2023-12-31 12:00+00'::timestamptz + n * interval '1 minute', n / 3.0::float8, n / 7.0::float4,
        n * interval '1 day 2 hours 0.003 seconds', decode(md5(n::text), 'hex'), json_build_object('n', n), 1e30 / n
    FROM generate_series(1, 3000) AS n;
CREATE INDEX by_value ON reading (value);
CREATE INDEX by_lower_name ON person (lower(name)) WHERE age > 18;
CREATE VIEW adults AS SELECT name, age FROM person WHERE age >= 18;
CREATE MATERIALIZED VIEW ages AS SELECT age, count(*) FROM person GROUP BY age;
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES person (id) ON DELETE CASCADE);
INSERT INTO child SELECT n, n FROM generate_series(1, 500) AS n;
CREATE SCHEMA other;
CREATE TABLE other."Odd name" ("A column" date, "select" time with time zone);
INSERT INTO other."Odd name" VALUES ('2024-02-29', '12:00:00+05:30'), ('0044-03-15 BC', NULL);
COMMENT ON TABLE person IS 'It''s a table';
ALTER TABLE person ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_them ON person USING (true);
GRANT SELECT ON adults TO PUBLIC;
SELECT setval('counter', 1234), lo_from_bytea(4711, decode(repeat('ab', 5000), 'hex'));
