//! The grid before the one under test, as in a model: it writes A, and uses the buffers that are written next.

use std::ffi::c_void;
use std::ptr;

use nvfp4_dual_gemm::check::CheckError;
use nvfp4_dual_gemm::cust::memory::DeviceBuffer;
use nvfp4_dual_gemm::cust::module::Module;
use nvfp4_dual_gemm::cust::stream::Stream;
use nvfp4_dual_gemm::driver::api::{self, LaunchConfig};
use nvfp4_dual_gemm::launch::LaunchError;

use crate::{Buffers, bytes, failed};

/// Lets its dependents start, then copies; a CTA for each range, which is three words: to, from, and how many 16 bytes.
const PTX: &str = "
.version 8.6
.target sm_90
.address_size 64
.visible .entry earlier(.param .u64 ranges)
{
    .reg .pred %done;
    .reg .b32 %index, %data<4>;
    .reg .b64 %range, %to, %from, %units, %unit, %offset, %source, %destination;
    griddepcontrol.launch_dependents;
    ld.param.u64 %range, [ranges];
    mov.u32 %index, %ctaid.x;
    mad.wide.u32 %range, %index, 24, %range;
    ld.global.u64 %to, [%range];
    ld.global.u64 %from, [%range+8];
    ld.global.u64 %units, [%range+16];
    mov.u32 %index, %tid.x;
    cvt.u64.u32 %unit, %index;
NEXT:
    setp.ge.u64 %done, %unit, %units;
    @%done bra DONE;
    shl.b64 %offset, %unit, 4;
    add.u64 %source, %from, %offset;
    add.u64 %destination, %to, %offset;
    ld.global.v4.u32 {%data0, %data1, %data2, %data3}, [%source];
    st.global.v4.u32 [%destination], {%data0, %data1, %data2, %data3};
    add.u64 %unit, %unit, 128;
    bra NEXT;
DONE:
    ret;
}
";
const THREADS: u32 = 128;
const UNIT: usize = 16;

/// What the grid needs until it has run.
pub struct Earlier {
    _sources: Vec<DeviceBuffer<u8>>,
    _ranges: DeviceBuffer<u64>,
    _module: Module,
}

impl Earlier {
    /// Enqueues the grid: it writes what A, its scale factors, the outputs and the workspace have been filled with.
    pub fn launch(buffers: &Buffers, stream: &Stream) -> Result<Self, CheckError> {
        let [a, ..] = &buffers.operands;
        let others = buffers.outputs.iter().chain([&buffers.workspace]);
        let (mut sources, mut ranges) = (Vec::new(), Vec::new());
        for buffer in a.iter().chain(others) {
            let content = bytes(buffer).map_err(failed("downloading"))?;
            let source = DeviceBuffer::from_slice(&content).map_err(failed("uploading"))?;
            let address = |buffer: &DeviceBuffer<u8>| buffer.as_device_ptr().as_raw();
            let units = (buffer.len() / UNIT) as u64;
            ranges.extend([address(buffer), address(&source), units]);
            sources.push(source);
        }
        let config = LaunchConfig {
            grid: [sources.len() as u32, 1, 1],
            block: [THREADS, 1, 1],
            cluster: None,
            dynamic_shared_bytes: 0,
            programmatic_dependent_launch: false,
        };
        let ranges = DeviceBuffer::from_slice(&ranges).map_err(failed("uploading"))?;
        let module = api::load_module_with_log(PTX).map_err(LaunchError::from)?;
        let mut parameter = ranges.as_device_ptr().as_raw();
        let mut pointers: [*mut c_void; 1] = [ptr::from_mut(&mut parameter).cast()];
        {
            let function = module
                .get_function("earlier")
                .map_err(failed("finding the grid before"))?;
            // SAFETY: the entry has one parameter, an address; all that it leads to is in the result and in `buffers`.
            unsafe { api::launch_kernel_ex(&function, &config, stream.as_inner(), &mut pointers) }
                .map_err(LaunchError::from)?;
        }
        Ok(Self {
            _sources: sources,
            _ranges: ranges,
            _module: module,
        })
    }
}
