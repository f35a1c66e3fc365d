//! Driver functions that `cust` has no wrapper for.
