"""What may differ between two servers without being a difference, field by field, each with its reason.

A pattern matches the path of a field below the ROP response ("RowData[0].PidTagCreationTime", "change 'x'.PidTagBody").
`*` matches anything; "*Name" matches any path with a part of that name. Ids are not here: they are compared through the
Identity (verdict remapped).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

from replay.compare.difference import ABSENT
from replay.errors import ReplayError


class Rule(NamedTuple):
    """rop, path: patterns. why: shown in the report.

    absent: only where one of the sides has no such field (or an empty one). bits: only where two numbers differ in
    nothing but these bits.
    """

    rop: str
    path: str
    why: str
    absent: bool = False
    bits: int = 0

    def covers(self, here: Any, there: Any) -> bool:
        """Whether the rule is about two such values."""
        if self.absent:
            return lacks(here) or lacks(there)
        if self.bits:
            return isinstance(here, int) and isinstance(there, int) and (here ^ there) & ~self.bits == 0
        return True


def lacks(value: Any) -> bool:
    """Whether one side has nothing in this place."""
    return value == ABSENT or value is None or str(value) == "ecNotFound"


CLOCK = "set by the server at the time of the replay"
COUNTS = "servers count overhead differently"
MADE = "made by the server"
USER = "names the live user"
COMPUTED = "computed by the server; not every server gives it here"
DEFAULT = "a default or derived value that some servers store with every message"


def _all(names: str, why: str, *, rop: str = "*", absent: bool = False) -> tuple[Rule, ...]:
    return tuple(Rule(rop, f"*{name}", why, absent) for name in names.split())


POLICY: tuple[Rule, ...] = (
    Rule("RopLogon", "*LogonTime", "the clock of the server"),
    Rule("RopLogon", "GwartTime", "the clock of the server"),
    Rule("RopLogon", "StoreState", "a property of the live mailbox"),
    Rule("RopLogon", "ReplId", "replica ids are the server's own"),
    Rule("RopLogon", "ResponseFlags", "rights of the live user"),
    *_all(
        "PidTagLastModificationTime PidTagCreationTime PidTagLocalCommitTime PidTagLocalCommitTimeMax "
        "PidTagMessageDeliveryTime PidTagHierRev PR_FOLDER_PATHNAME",
        CLOCK,
    ),
    *_all("PidTagRecordKey PidTagStoreRecordKey", "record keys hold the ids of the live mailbox"),
    *_all(
        "PidTagMailboxOwner PidTagMailboxOwnerName PidTagMailboxOwnerEntryId PidTagUserEntryId "
        "PidTagIpmPublicFoldersEntryId",
        "names the live mailbox",
    ),
    *_all(
        "PidTagCreatorName PidTagCreatorEntryId PidTagLastModifierName PidTagLastModifierEntryId PR_CREATOR_SID", USER
    ),
    *_all("PidTagSearchKey PidTagInstanceKey PidTagInternetArticleNumber PR_INTERNET_ARTICLE_NUMBER_NEXT", MADE),
    Rule("*", "*PidTagMappingSignature", "the GUID of the live mailbox"),
    Rule("*", "*PidTagStoreEntryId", "names the live mailbox and its server"),
    *_all(
        "PidTagMessageSize PidTagMessageSizeExtended PidTagNormalMessageSize PidTagNormalMessageSizeExtended "
        "PidTagAssociatedMessageSize PR_ASSOC_MESSAGE_SIZE_EXTENDED PidTagAttachSize PidTagDeletedMessageSizeExtended",
        COUNTS,
    ),
    Rule("*", "*PidTagMessageFlags", "servers differ in when they set mfUnmodified and mfEverRead", bits=0x402),
    Rule("*", "*RecipientFlags", "how the row of a recipient is written"),
    *_all(
        "PidTagSourceKey PidTagParentSourceKey PidTagChangeKey PidTagPredecessorChangeList PidTagChangeNumber "
        "PidTagMid PidTagSubject "
        "PidTagInstID PidTagFolderId PidTagParentFolderId PidTagEntryId PidTagParentEntryId PidTagObjectType "
        "PidTagStoreSupportMask PidTagHasNamedProperties PidTagAssociated PidTagAccess PidTagAccessLevel PidTagRights "
        "PidTagHasAttachments PidTagDisplayTo PidTagDisplayCc PidTagDisplayBcc PidTagMessageStatus PidTagRead "
        "PidTagContentCount PidTagContentUnreadCount PidTagAssociatedContentCount PidTagSubfolders PidTagFolderType "
        "PidTagFolderChildCount PidTagDeletedCountTotal PidTagDeletedMessageCount PidTagFolderFlags PidTagHasRules "
        "PidTagHierarchyChangeNumber PidTagAttributeHidden PidTagAttributeReadOnly PR_ATTR_SYSTEM PR_CI_SEARCH_ENABLED "
        "PidTagDeletedFolderCount PidTagDeletedAssociatedCount PidTagRightsLevel PidTagAttachNumber PidTagRowid "
        "PidTagProviderItemid PidTagStoreProvider PidTagAddressBookEntryId PidTagInstanceNum PidTagRowType",
        COMPUTED,
        absent=True,
    ),
    *_all(
        "PidTagReadReceiptRequested PidTagNonReceiptNotificationRequested PidTagOriginatorDeliveryReportRequested "
        "PidTagSensitivity PidTagImportance PidTagPriority PidTagSubjectPrefix PidTagNormalizedSubject "
        "PidTagConversationTopic PidTagConversationIndex PidTagConversationId PidTagConversationIndexTracking "
        "PidTagBodyContentId PidTagInternetMessageId PidTagNativeBody PidTagInternetCodepage PidTagMessageCodepage "
        "PidTagMessageLocaleId PidTagLocaleId PidTagRtfInSync PidTagMessageEditorFormat PidTagComment PidTagHtml "
        "PidTagResponsibility PidTagSendRichInfo PidTagSendInternetEncoding PidTagRecipientFlags "
        "PidTagRenderingPosition PidTagTrustSender PidTagClientSubmitTime PidTagSwappedToDoData",
        DEFAULT,
        absent=True,
    ),
    *_all("PropertyProblems", "servers differ in which of the properties that they compute they refuse", absent=True),
    Rule("RopFastTransferSourceGetBuffer", "InProgressCount", "servers count steps differently"),
    Rule("RopFastTransferSourceGetBuffer", "TotalStepCount", "servers count steps differently"),
    Rule("RopFastTransferSourceGetBuffer", "TransferStatus", "servers cut streams at different places"),
    Rule("RopFastTransferSourceGetBuffer", "progress", "servers estimate sizes differently"),
    Rule("RopGetLocalReplicaIds", "GlobalCount", "the live server hands out a range of its own"),
    Rule("RopSynchronizationImport*", "MessageId", "[MS-OXCFXICS] 3.2.5.9: some servers give 0, some the id"),
    Rule("RopSynchronizationImport*", "FolderId", "[MS-OXCFXICS] 3.2.5.9: some servers give 0, some the id"),
    Rule("RopQueryRows", "Origin", "where the table stands follows from how many rows it has"),
)
"""What is expected of any two servers."""


class Policy:
    """Rules, ready to be asked."""

    def __init__(self, rules: Iterable[Rule] = POLICY) -> None:
        self.rules = tuple(rules)
        self._by_name: dict[str, list[Rule]] = {}
        self._others: list[Rule] = []
        for rule in self.rules:
            plain = re.fullmatch(r"\*(\w+)", rule.path)
            if plain is not None:
                self._by_name.setdefault(plain[1], []).append(rule)
            else:
                self._others.append(rule)

    def expected(self, rop: str, path: str, here: Any = ABSENT, there: Any = "", *, given: bool = False) -> str:
        """Why a difference at this path is expected; '' where it is not.

        given: the client has written this property, so nothing excuses a live server that lacks it, or that has its
        own time there.
        """
        for rule in self._candidates(path):
            if given and (rule.why == CLOCK or (rule.absent and lacks(there))):
                continue
            if rule.covers(here, there) and _pattern(rule.rop).match(rop):
                return rule.why
        return ""

    def _candidates(self, path: str) -> Iterator[Rule]:
        for part in re.split(r"[.\[\]#]", path):
            yield from self._by_name.get(part, ())
        for rule in self._others:
            if _pattern(rule.path).match(path):
                yield rule


@lru_cache(4096)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(translate(text))


def rules_from(tables: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Rules as a file gives them: tables with path and why, and perhaps rop, absent, bits. Raises ValueError."""
    made = []
    for table in tables:
        if not isinstance(table.get("path"), str) or not isinstance(table.get("why"), str):
            raise ValueError("a policy rule needs a path and a why")
        unknown = set(table) - set(Rule._fields)
        if unknown:
            raise ValueError(f"a policy rule has no {', '.join(sorted(unknown))}")
        made.append(Rule(**{"rop": "*", **table}))
    return tuple(made)


OTHERWISE = (
    "Expected too, without a rule:",
    "    change numbers in states: of those that both sides know the same ones have to be in it",
    "    which deletions a server calls out of scope; the order of rows of a table that was not sorted",
    "    a whole message in the place of a partial one [MS-OXCFXICS] 3.2.5.5",
    "    MetaTagIdsetGiven in the state of an upload [MS-OXCFXICS] 3.3.4.3.1",
    "    what follows from a ROP that was skipped, or from an object for which an empty one stands in",
)


def policy_of(name: str) -> Policy:
    """The policy that --policy names: "" the rules here, "none" no rule, else these behind the rules of a file."""
    if not name:
        return DEFAULT_POLICY
    if name == "none":
        return Policy(())
    path = Path(name)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        return Policy((*rules_from(content.get("policy", [])), *POLICY))
    except OSError as error:
        raise ReplayError(f"--policy {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError, AttributeError, TypeError) as error:
        raise ReplayError(f"--policy {path}: {error}") from error


def rule_lines(rules: Iterable[Rule] = POLICY) -> Iterator[str]:
    """The rules in words: ROP, path and why, those of one reason together."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for rule in rules:
        shown = rule.path.removeprefix("*") + (" (absent)" if rule.absent else "")
        shown += f" (bits 0x{rule.bits:x})" if rule.bits else ""
        reasons.setdefault((rule.rop, rule.why), []).append(shown)
    for (rop, why), paths in reasons.items():
        yield f"{rop if rop != '*' else 'any ROP'}: {why}"
        yield from wrap(", ".join(paths), 116, initial_indent="    ", subsequent_indent="    ")
    yield from OTHERWISE


DEFAULT_POLICY = Policy()
