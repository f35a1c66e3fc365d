//! The driver API as a C program sees it: through function pointers looked up by name.

mod api;
mod functions;
mod launch;
mod pointers;
