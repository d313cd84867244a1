//! What the benchmarks share: the released binary as a child, a load generator, tables.

pub mod deployment;
pub mod load;
pub mod table;
