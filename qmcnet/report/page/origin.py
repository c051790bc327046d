"""Where a report comes from: command, versions, warnings, and whom to cite."""

from importlib.resources import files
from typing import Any

import yaml

from qmcnet.report.page.blocks import Code, Facts, Notes, Section
from qmcnet.report.record import Record

MACHINE = ("device", "precision", "processor", "threads", "cpu_kernels", "config_hash")


def warnings(record: Record) -> Section | None:
    """Repeat what was warned of.

    Args:
        record: of the run.

    Returns:
        The section; None where there is nothing.
    """
    said = [*record.warnings, *(f"bad numbers at {trouble}" for trouble in record.trouble)]
    return Section("Warnings", [Notes(said, "warning")]) if said else None


def origin(record: Record) -> Section:
    """Say how to make the run again.

    Args:
        record: of the run.

    Returns:
        The section.
    """
    command = record.command or "The run was started from Python; config.yaml in its directory builds it again."
    known = record.result.metadata if record.result else {}
    versions = known.get("versions", {})
    rows = [("directory", record.name), *((name, f"{version}") for name, version in versions.items())]
    rows += [(name.replace("_", " "), f"{known[name]}") for name in MACHINE if name in known]
    return Section("Made by", [Code("Command", command), Facts(rows)])


def citing(_: Record) -> Section:
    """Say what to cite.

    Args:
        _: of any run.

    Returns:
        The section.
    """
    content = yaml.safe_load(files("qmcnet.report.page").joinpath("CITATION.cff").read_text(encoding="utf-8"))
    own = f"{_names(content)}: {content['title']}, version {content['version']}."
    return Section("How to cite", [Notes([content["message"], own, *map(_reference, content["references"])])])


def _names(entry: dict[str, Any]) -> str:
    names = [each.get("family-names") or each["name"] for each in entry["authors"]]
    return f"{names[0]} et al." if len(names) > 3 else ", ".join(names)


def _reference(entry: dict[str, Any]) -> str:
    place = entry.get("journal") or entry.get("collection-title", "")
    number = f" {entry['volume']}, {entry['start']}" if "volume" in entry else ""
    link = f"doi:{entry['doi']}" if "doi" in entry else "arXiv:" + entry["url"].rpartition("/")[2]
    return f"{_names(entry)}: {entry['title']}. {place}{number} ({entry['year']}), {link}."
