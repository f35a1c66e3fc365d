//! The CUDA driver API over the emulator.
