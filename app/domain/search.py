"""Match messages against search words that no index covers."""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


def split_words(text: str) -> Iterator[str]:
    """The words of a text, in the form in which they are compared: whatever case and width."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    word = ""
    for char in folded:
        if char.isalnum() or unicodedata.combining(char):
            word += char
        elif word:
            yield word
            word = ""
    if word:
        yield word


@dataclass(frozen=True, slots=True)
class Search:
    """Messages whose subject has all of these words, or words that begin so, and these metadata.

    Each of `metadata` is a key and its value; None stands for any.
    """

    subject: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str | None], ...] = ()

    def matches(self, subject: str, metadata: Mapping[str, str]) -> bool:
        """Whether a message is one of them."""
        for key, value in self.metadata:
            if key not in metadata or value not in {None, metadata[key]}:
                return False
        if not self.subject:
            return True
        subject_words = set(split_words(subject))
        return all(
            any(subject_word.startswith(word) for subject_word in subject_words)
            for word in self.subject
        )
