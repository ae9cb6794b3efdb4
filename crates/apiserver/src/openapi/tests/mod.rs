//! The documents as their readers read them.
