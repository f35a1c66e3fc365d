//! The fifth-generation tensor core: tensor memory, descriptors, layouts and arithmetic.
