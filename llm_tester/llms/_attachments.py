"""Files that go along with a prompt."""

import base64
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import CaseError

__all__ = ["File"]


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
