//! Host API.
