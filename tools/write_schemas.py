"""Write ``schemas/*.schema.json`` from the pydantic models; a test keeps them equal."""

import json
from pathlib import Path

from pydantic import BaseModel

from shardkit.format.manifest import Manifest
from shardkit.stream.config import StreamConfig

SCHEMAS: dict[str, type[BaseModel]] = {"manifest.schema.json": Manifest, "stream.schema.json": StreamConfig}


def schema_text(model: type[BaseModel]) -> str:
    """Return the text of a model's schema file."""
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent.parent / "schemas"
    for name, model in SCHEMAS.items():
        (folder / name).write_text(schema_text(model))
        print(folder / name)
