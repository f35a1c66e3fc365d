//! The tensor memory accelerator: tensor maps, tiles, swizzles.
