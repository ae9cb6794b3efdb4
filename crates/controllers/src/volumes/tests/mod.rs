//! Tests of the volume controller: the pure plans over a small world that can crash between any two writes,
//! and the whole over the API in memory with drivers of each sort.

mod binding;
mod cluster;
mod crashes;
mod reclaim;
mod world;
