-- The least floor that an account has had. A floor may be raised above what is on the account: nothing is taken, and nothing can
-- be held until the balance is above it again. What was held before stays right, so this is the bound that the books are
-- checked against.
ALTER TABLE account ADD COLUMN floor_least INTEGER NOT NULL DEFAULT 0;
UPDATE account SET floor_least = floor;
