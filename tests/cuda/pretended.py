"""A CUDA device that is not there: its tensors compute on the CPU; what a device refuses or waits for is seen."""

import collections
import functools
import sys
from types import SimpleNamespace

import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

# Operations whose CUDA kernels wait for the device.
WAITING = {
    *("_local_scalar_dense", "_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_eig", "linalg_eigvals"),
    *("_unique2", "unique_dim", "unique_consecutive", "nonzero", "masked_select", "bincount", "equal", "nanmedian"),
}
COPIES = {"_to_copy", "copy_"}
# A 0-dimensional tensor on the CPU stands for a number in other operations, but not where values are put in a row.
JOINING = {"stack", "cat"}
MEMORY = 80 * 2**30
NO_LAUNCH = {"detach", "empty", "empty_like", "empty_strided", "new_empty"}


class OnDevice(torch.Tensor):
    """A tensor that says it is on a GPU and keeps its numbers on the CPU, or none at all on the meta device."""

    @staticmethod
    def __new__(cls, numbers):
        how = {"dtype": numbers.dtype, "strides": numbers.stride(), "storage_offset": numbers.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, numbers.size(), **how, device="cuda:0")
        made.numbers = numbers
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} outside of the pretence")

    def tolist(self):
        """Lists as of other tensors, which torch refuses those of a class of their own."""
        return self.cpu().tolist()


class Pretence(TorchDispatchMode):
    """Counts launches, and waits by phase and file; refuses tensors of two devices in one operation.

    Args:
        package: folder of the files whose waits are told apart.
        numbers: whether tensors on the device have numbers; without, they have shapes alone and all that is asked is 0.
    """

    def __init__(self, package, numbers=True):
        super().__init__()
        self.package, self.home, self.phase, self.launches = package, "cpu" if numbers else "meta", "start", 0
        self.waits, self.calls = collections.Counter(), collections.Counter()
        torch.cuda.synchronize = lambda device=None: self._wait("synchronize")

    @classmethod
    def _should_skip_dynamo(cls):
        """Take no precautions, at every operation, against being compiled."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and is_composite(func):  # which come as they are there
            with self:
                return func.decompose(*args, **kwargs)
        name, launches, reshapes, mutable, returns = facts(func)
        given = tensors_in((args, tuple(kwargs.values())))
        on_device = [isinstance(tensor, OnDevice) for tensor in given]
        target = kwargs.get("device")
        to_device = any(on_device) if target is None else torch.device(target).type == "cuda"
        if not (to_device or any(on_device)):
            return func(*args, **kwargs)
        self.launches += launches
        self._check(name, given, on_device, to_device)
        if name == "_local_scalar_dense" and self.home == "meta":
            return 0
        plain = changed(args, self._numbers)
        named = {key: changed(value, self._numbers) for key, value in kwargs.items()}
        if target is not None:
            named["device"] = self.home if to_device else "cpu"
        generator = named.get("generator")
        if generator is not None:
            named["generator"] = stream_of(generator, name, to_device)
        result = func(*plain, **named)
        if generator is not None:
            generator.set_state(named["generator"].get_state())
        if reshapes:
            with no_dispatch():
                func(*args, **kwargs)  # another shape for the same numbers
        if mutable:
            return args[0] if returns else None
        return changed(result, self._wrapped) if to_device else result

    def _check(self, name, given, on_device, to_device):
        """Count what an operation costs on a device, and refuse what is impossible there."""
        others = [t for t, moved in zip(given, on_device, strict=True) if not moved and (t.ndim or name in JOINING)]
        crossing = name in COPIES and not (all(on_device) and to_device)
        by_cpu_index = bool(others) and name.startswith("index") and on_device[0]
        if others and any(on_device) and not (crossing or by_cpu_index):
            raise RuntimeError(f"{name} of tensors on two devices, of shapes {[tuple(t.shape) for t in given]}")
        if name in WAITING or crossing or by_cpu_index:
            self._wait(name)

    def _numbers(self, value):
        if isinstance(value, OnDevice):
            return value.numbers
        return value.to(self.home) if isinstance(value, torch.Tensor) and value.ndim else value

    def _wrapped(self, value):
        if not isinstance(value, torch.Tensor):
            return value
        # What torch leaves for later, zeros and complex conjugates, it would look for in the tensor around the numbers.
        value = torch.zeros(value.shape, dtype=value.dtype) if value._is_zerotensor() else value.resolve_conj()
        if value.is_inference() == torch.is_inference_mode_enabled():
            return OnDevice(value)
        with torch.inference_mode(value.is_inference()):  # a view of an ordinary tensor is one even in inference mode
            return OnDevice(value)

    def _wait(self, name):
        """Count a wait for the file of the package that asked for it."""
        frame = sys._getframe(1)
        while frame is not None and self.package not in frame.f_code.co_filename:
            frame = frame.f_back
        place = "elsewhere" if frame is None else frame.f_code.co_filename.removeprefix(self.package)
        self.waits[self.phase, f"{place} {name}"] += 1

    def as_phase(self, phase, function):
        """Let what a function asks for count as a phase of its own."""

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            before, self.phase = self.phase, phase
            self.calls[phase] += 1
            try:
                return function(*args, **kwargs)
            finally:
                self.phase = before

        return wrapped


def tensors_in(value):
    """Tensors in a list or tuple and those in it, the only places where an operation has them."""
    found = []
    for part in value:
        if isinstance(part, torch.Tensor):
            found.append(part)
        elif isinstance(part, (list, tuple)) and not of_numbers(part):
            found += tensors_in(part)
    return found


def of_numbers(values):
    """Whether a list has whole numbers alone, such as a shape."""
    return not values or type(values[0]) is int


def changed(value, change):
    """Change what is in lists and tuples."""
    if not isinstance(value, (list, tuple)):
        return change(value)
    if of_numbers(value):
        return value
    return type(value)([changed(part, change) if isinstance(part, (list, tuple)) else change(part) for part in value])


@functools.cache
def facts(func):
    """Name, whether it is a launch, changes a shape in place, writes into its first argument, returns something."""
    schema = func._schema
    name = schema.name.removeprefix("aten::")
    launches = not (func.is_view or name in NO_LAUNCH)
    return name, launches, torch.Tag.inplace_view in func.tags, schema.is_mutable, bool(schema.returns)


@functools.cache
def is_composite(func):
    """Whether an operation is made of others."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), torch._C.DispatchKey.CompositeImplicitAutograd)


def stream_of(generator, name, to_device):
    """Make a generator on the CPU in the state of one on the device."""
    if (generator.device.type == "cuda") != to_device:
        raise RuntimeError(f"{name}: a generator on {generator.device} for tensors elsewhere")
    stream = torch.Generator()
    stream.set_state(generator.get_state())
    return stream


def move(module, function, recurse=True):
    """Apply a function to all tensors of a module without putting new contents into old ones."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, old in held.items():
                new = None if old is None else function(old)
                if new is not old:
                    is_parameter = isinstance(old, torch.nn.Parameter)
                    held[name] = torch.nn.Parameter(new, old.requires_grad) if is_parameter else new
    return module


def patch_torch():
    """Let torch find the device, and write its tensors to files."""
    save = torch.save
    torch.save = lambda state, file: save(tree_map_only(OnDevice, torch.Tensor.cpu, state), file)
    torch.nn.Module._apply = move
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) is a copy that can be seen
    torch.cuda._lazy_init = lambda: None
    torch.cuda.device_count = lambda: 1
    torch.cuda.get_device_properties = lambda device: SimpleNamespace(total_memory=MEMORY)
    torch.cuda.mem_get_info = lambda device: (MEMORY, MEMORY)
    torch.cuda.memory_reserved = torch.cuda.memory_allocated = torch.cuda.max_memory_allocated = lambda device: 0
