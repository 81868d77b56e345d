"""Files that go along with a prompt."""

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..config import ModelConfig
from ..errors import CaseError

__all__ = ["File", "check_files", "file_bytes"]


@dataclass(frozen=True)
class File:
    """A file that goes along with a prompt.

    Attributes:
        path: its path.
        media_type: its type, such as `image/png` or `application/pdf`.
    """

    path: Path
    media_type: str

    @classmethod
    def of(cls, path: Path) -> "File":
        """The file at a path, its type guessed from the name.

        Raises:
            CaseError: the name is not that of an image or a PDF.
        """
        kind = mimetypes.guess_type(path.name)[0] or ""
        if not (kind.startswith("image/") or kind == "application/pdf"):
            raise CaseError(f"{path}: is {kind or 'of an unknown type'}; images and PDFs can be sent")
        return cls(path, kind)

    @property
    def needs(self) -> Literal["supports_vision", "supports_pdf"]:
        """The field of `ModelConfig` that says whether a model takes it."""
        return "supports_vision" if self.media_type.startswith("image/") else "supports_pdf"

    def data(self) -> bytes:
        """Its bytes."""
        return self.path.read_bytes()

    def data_url(self) -> str:
        """Its bytes as a `data:` URL."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data()).decode()}"


def file_bytes(files: Sequence[File]) -> int:
    """The size of files together, in bytes."""
    return sum(file.path.stat().st_size for file in files)


def check_files(files: Sequence[File], provider: str, model: ModelConfig, known: Mapping[str, Any]) -> None:
    """Checks that a model takes files.

    Args:
        files: the files.
        provider: the provider's name, for messages.
        model: what the config says of the model.
        known: what LiteLLM's data says of it.

    Raises:
        CaseError: it does not take one of them.
    """
    for file in files:
        written = getattr(model, file.needs)
        takes = written if written is not None else known.get(f"{file.needs}_input", False)
        if written is None:
            takes = takes or known.get(file.needs, False)
        if not takes:
            raise CaseError(
                f"{provider}, {model.name}: does not take {file.path.name} ({file.media_type}); choose "
                f'another model, or write "{file.needs}": true in its config entry'
            )
