//! Tests of the volume controller.
