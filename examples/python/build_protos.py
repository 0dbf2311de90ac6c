"""Makes Python classes of the published schema, `proto/sillok/v1/*.proto`, into `generated/`. Nothing of it is kept here."""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"


def main() -> int:
    """Runs protoc."""
    out = HERE / "generated"
    out.mkdir(exist_ok=True)
    sources = sorted(str(path) for path in PROTO.glob("sillok/v1/*.proto"))
    return protoc.main(
        [
            "protoc",
            f"--proto_path={PROTO}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            *sources,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
