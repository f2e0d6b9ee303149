//! What is compiled when.
