-- What is written here by hand must still be a record that readers of the tenants can read, and a small one.
-- Whether the entries are addresses is checked by whoever writes them (`alerts users set-addresses`).
ALTER TABLE users
    ADD COLUMN allowed_addresses text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT users_allowed_addresses_bounded CHECK (
        cardinality(allowed_addresses) <= 100
        AND coalesce(array_ndims(allowed_addresses), 1) = 1
        AND array_position(allowed_addresses, NULL) IS NULL
        AND octet_length(array_to_string(allowed_addresses, ',')) <= 8192
    );
COMMENT ON COLUMN users.allowed_addresses IS
    'networks, addresses and names of known senders that may send; empty: any address';
