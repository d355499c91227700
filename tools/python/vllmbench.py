"""Runs `vllm bench serve` from vLLM's wheel without torch.

The benchmark is a client of HTTP. On its way in, Python meets the engine's
side of vLLM, and with it torch, of which the client names classes and calls
nothing. Those parts are here by name only: whatever is asked of them is a
class without a method. What measures is vLLM's own code, as it is.

  vllmbench.py --version
  vllmbench.py bench serve ARGUMENTS
"""
import importlib.abc
import importlib.machinery
import sys
import types

ENGINE = (
    "torch", "vllm.config", "vllm.distributed", "vllm.env_override", "vllm.inputs", "vllm.lora", "vllm.model_executor",
    "vllm.multimodal", "vllm.platforms", "vllm.transformers_utils.config", "vllm.utils.torch_utils",
)


class Name(type):
    """A class that is there to be named, in annotations and as a base."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Name(name, (), {})

    def __getitem__(cls, key):
        return cls

    def __or__(cls, other):
        return cls

    __ror__ = __or__


def no_config(*args, **kwargs):
    """There is a tokenizer and no model beside it, which vLLM allows."""
    raise ValueError("no model config")


class Module(types.ModuleType):
    __path__ = []
    __version__ = "0"
    get_config = staticmethod(no_config)
    get_sentence_transformer_tokenizer_config = staticmethod(lambda *args, **kwargs: None)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Name(name, (), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path=None, target=None):
        if any(fullname == name or fullname.startswith(name + ".") for name in ENGINE):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return Module(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, Finder())

if sys.argv[1:] == ["--version"]:
    from vllm.version import __version__

    print(__version__)
    sys.exit()
if sys.argv[1:3] != ["bench", "serve"]:
    sys.exit(__doc__)

from vllm.benchmarks.serve import add_cli_args, main  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402

parser = FlexibleArgumentParser(prog="vllm bench serve")
add_cli_args(parser)
main(parser.parse_args(sys.argv[3:]))
