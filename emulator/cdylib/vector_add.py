"""Adds two vectors through the CUDA driver API, with ctypes and nothing else.

Knows nothing of the emulator: it runs on whichever libcuda.so.1 the loader finds.

    cargo xtask libcuda /tmp/emulated
    LD_LIBRARY_PATH=/tmp/emulated python3 emulator/cdylib/vector_add.py
"""

import ctypes
import sys

PTX = b"""
.version 7.0
.target sm_70
.address_size 64

.visible .entry vector_add(
    .param .u64 a, .param .u64 b, .param .u64 sum, .param .u32 count
)
{
    .reg .pred %outside;
    .reg .b32 %i, %count, %block, %size;
    .reg .f32 %x, %y;
    .reg .b64 %a, %b, %sum, %offset;

    mov.u32 %block, %ctaid.x;
    mov.u32 %size, %ntid.x;
    mov.u32 %i, %tid.x;
    mad.lo.u32 %i, %block, %size, %i;
    ld.param.u32 %count, [count];
    setp.ge.u32 %outside, %i, %count;
    @%outside ret;

    ld.param.u64 %a, [a];
    ld.param.u64 %b, [b];
    ld.param.u64 %sum, [sum];
    mul.wide.u32 %offset, %i, 4;
    add.u64 %a, %a, %offset;
    add.u64 %b, %b, %offset;
    add.u64 %sum, %sum, %offset;
    ld.global.f32 %x, [%a];
    ld.global.f32 %y, [%b];
    add.f32 %x, %x, %y;
    st.global.f32 [%sum], %x;
    ret;
}
"""

COUNT = 1000
BLOCK = 128
Vector = ctypes.c_float * COUNT


class CudaError(Exception):
    pass


class Driver:
    """The functions of libcuda, with statuses turned into exceptions."""

    def __init__(self):
        self.library = ctypes.CDLL("libcuda.so.1")

    def __getattr__(self, name):
        function = getattr(self.library, name)

        def call(*arguments):
            status = function(*arguments)
            if status != 0:
                text = ctypes.c_char_p()
                self.library.cuGetErrorName(status, ctypes.byref(text))
                raise CudaError(f"{name}: {text.value.decode()}")

        return call


def allocate(cuda, size):
    address = ctypes.c_uint64()
    cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size))
    return address


def main():
    cuda = Driver()
    cuda.cuInit(0)
    device = ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, len(name), device)
    context = ctypes.c_void_p()
    cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    cuda.cuCtxSetCurrent(context)

    module = ctypes.c_void_p()
    cuda.cuModuleLoadData(ctypes.byref(module), PTX)
    kernel = ctypes.c_void_p()
    cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"vector_add")

    a = Vector(*range(COUNT))
    b = Vector(*(0.5 * i for i in range(COUNT)))
    size = ctypes.sizeof(Vector)
    device_a, device_b, device_sum = (allocate(cuda, size) for _ in range(3))
    cuda.cuMemcpyHtoD_v2(device_a, a, ctypes.c_size_t(size))
    cuda.cuMemcpyHtoD_v2(device_b, b, ctypes.c_size_t(size))

    arguments = [device_a, device_b, device_sum, ctypes.c_uint32(COUNT)]
    pointers = (ctypes.c_void_p * len(arguments))(
        *(ctypes.addressof(argument) for argument in arguments)
    )
    blocks = -(-COUNT // BLOCK)
    cuda.cuLaunchKernel(kernel, blocks, 1, 1, BLOCK, 1, 1, 0, None, pointers, None)
    cuda.cuCtxSynchronize()

    found = Vector()
    cuda.cuMemcpyDtoH_v2(found, device_sum, ctypes.c_size_t(size))
    wrong = [i for i in range(COUNT) if found[i] != a[i] + b[i]]
    if wrong:
        sys.exit(f"{len(wrong)} of {COUNT} sums are wrong, the first at {wrong[0]}")
    print(f"{COUNT} sums right on {name.value.decode()}")

    for address in (device_a, device_b, device_sum):
        cuda.cuMemFree_v2(address)
    cuda.cuModuleUnload(module)
    cuda.cuDevicePrimaryCtxRelease_v2(device)


if __name__ == "__main__":
    main()
