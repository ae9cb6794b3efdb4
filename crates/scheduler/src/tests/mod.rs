//! What pods ask of each other: decisions over small pictures, and properties of the counts.

mod affinity;
mod preemption;
mod properties;
mod spread;
