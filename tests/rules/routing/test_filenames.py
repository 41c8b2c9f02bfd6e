"""What a release file's name tells (PEP 427, PEP 625, and names from before them)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pkgcache.rules.routing.filenames import (
    is_distribution,
    judged_projects,
    project_of,
    projects_of,
    split_filename,
    version_in,
    version_of,
)


@pytest.mark.parametrize(
    ("name", "filename", "suffix"),
    [
        ("six-1.0.tar.gz", "six-1.0.tar.gz", ""),
        ("six-1.0-py3-none-any.whl.metadata", "six-1.0-py3-none-any.whl", ".metadata"),
        ("six-1.0.tar.gz.publish.attestation", "six-1.0.tar.gz", ".publish.attestation"),
        pytest.param("six-1.0.whl.new", "six-1.0.whl", ".new", id="whatever follows a distribution's extension"),
        pytest.param("t.zip-1.0.whl", "t.zip-1.0.whl", "", id="an extension inside the name"),
        pytest.param("strange.metadata", "strange", ".metadata", id="a known companion of an odd name"),
        pytest.param("strange.new", "strange.new", "", id="an odd name"),
        ("", "", ""),
    ],
)
def test_split_filename(name: str, filename: str, suffix: str) -> None:
    assert split_filename(name) == (filename, suffix)
    assert is_distribution(name) is (suffix == "" and "-" in name)


@given(st.text(max_size=30), st.sampled_from(["", ".whl", ".tar.gz", ".metadata", ".whl.asc"]))
def test_nothing_is_lost(name: str, ending: str) -> None:
    assert "".join(split_filename(name + ending)) == name + ending


@pytest.mark.parametrize(
    ("filename", "likeliest", "others"),
    [
        ("Foo_Bar-1.0-py3-none-any.whl", "foo-bar", []),
        pytest.param("foo-1.0-py3-none-any.whl.metadata", "foo", [], id="a wheel's metadata"),
        ("foo-1.0.tar.gz", "foo", []),
        pytest.param("foo-bar-1.0.tar.gz", "foo-bar", ["foo"], id="hyphens before the version"),
        pytest.param("foo-1.0-2.tar.gz", "foo-1-0", ["foo"], id="hyphens in the version"),
        pytest.param("foo.tar.gz", "foo", [], id="no version"),
        pytest.param("Foo_Bar.whl", "foo-bar", [], id="no version in a wheel's name"),
        pytest.param("foo.zip.asc", "foo", [], id="its signature"),
        pytest.param("foo_1.0.zip", "foo", [], id="a version behind no hyphen"),
        pytest.param("foo.v2.tgz", "foo", [], id="behind a dot"),
        pytest.param("h5py.zip", "h5py", [], id="a digit in its name"),
    ],
)
def test_projects_of(filename: str, likeliest: str, others: list[str]) -> None:
    assert projects_of(filename) == [likeliest, *others]


@pytest.mark.parametrize(
    ("filename", "project"),
    [
        ("Foo_Bar-1.0-py3-none-any.whl", "foo-bar"),
        ("foo-bar-1.0.tar.gz", "foo-bar"),
        pytest.param("Foo.Bar-1.0.win32-py2.7.exe", "foo-bar", id="before wheels"),
        pytest.param("foo-v2.zip.old", "foo", id="up to what looks like a version"),
        pytest.param("strange", "strange", id="no version at all"),
        ("All_Bad.zip", "all-bad"),
        ("allbad.tar.gz", "allbad"),
        ("allbad.whl", "allbad"),
        ("allbad.zip.metadata", "allbad"),
    ],
)
def test_project_of(filename: str, project: str) -> None:
    assert project_of(filename) == project


@pytest.mark.parametrize(
    ("filename", "projects"),
    [
        ("foo-bar-1.0.tar.gz", ["foo-bar"]),
        ("foo-bar-v1.tar.gz", ["foo-bar"]),
        ("Foo_Bar-1.0-py3-none-any.whl", ["foo-bar"]),
        ("allbad.zip", ["allbad"]),
        ("All_Bad.tar.gz.asc", ["all-bad"]),
        ("all-bad.zip", ["all", "all-bad"]),
        ("a-b-c.tgz", ["a-b", "a-b-c"]),
        ("all-bad.whl", ["all", "all-bad"]),
        ("foo-1-2.zip", ["foo-1"]),
        ("_.zip", ["_.zip"]),
    ],
)
def test_judged_projects(filename: str, projects: list[str]) -> None:
    """`allbad.zip` was of a project `allbad.zip`, so no rule for `allbad` held."""
    assert judged_projects(filename) == projects


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("six-1.0-py3-none-any.whl", "1.0"),
        ("six-1.0-2-py3-none-any.whl", "1.0"),
        ("six-1.0.tar.gz", "1.0"),
        ("six-x-1.0.zip", "1.0"),
        pytest.param("six-2004d-py3-none-any.whl", None, id="no PEP 440 version"),
        pytest.param("six-1.0.win32.exe", None, id="another format"),
        pytest.param("six.whl", None, id="no version"),
    ],
)
def test_version_of(filename: str, version: str | None) -> None:
    known: dict[str, Version] = {}
    expected = Version(version) if version else None
    assert version_of(filename, known) == expected
    assert version_of(filename, known) == expected, "once it is known"
    assert bool(known) is (filename.endswith(".whl") and version is not None)


@pytest.mark.parametrize(
    ("name", "project", "version"),
    [
        pytest.param(f"six-1.0-{'.'.join(['py3'] * 2000)}-{'.'.join(['none'] * 1500)}-any.whl", "six", "1.0", id="3,000,000 tags"),
        pytest.param(f"six-{'9' * 5000}-py3-none-any.whl", "six", None, id="a wheel's version of 5,000 digits"),
        pytest.param(f"six-{'9' * 5000}.tar.gz", "six", None, id="an sdist's"),
        pytest.param(f"six-1.0-{'9' * 5000}-py3-none-any.whl", "six", "1.0", id="a build of 5,000 digits"),
        pytest.param("six-1.0-x-py3-none-any.whl", "six", None, id="no build"),
        pytest.param("-1.0-py3-none-any.whl", "-1.0-py3-none-any.whl", None, id="no name"),
        pytest.param("s__x-1.0-py3-none-any.whl", "s-x", None, id="no name for a wheel"),
        pytest.param("Zope.I_x-1.0-py3-none-any.whl", "zope-i-x", "1.0", id="an odd name"),
    ],
)  # fmt: skip
def test_names_that_mean_harm(name: str, project: str, version: str | None) -> None:
    """As packaging reads them, without a value for each combination of tags, and without an error from `int`."""
    assert project_of(name) == project
    found = version_of(name, {})
    assert (found and str(found)) == version


def test_no_name_has_many_projects() -> None:
    """For each of them pages are looked for in the store."""
    assert projects_of("-".join("a" * 500) + "-1.0.tar.gz")[0] == "-".join("a" * 500)
    assert len(projects_of("-".join("a" * 500) + "-1.0.tar.gz")) == 8


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("six" + ".asc" * 2000, ".asc" * 2000),
        ("six" + ".asc" * 2000 + "x", ""),
        ("six.asc.metadata", ".asc.metadata"),
        ("six.ASC", ".ASC"),
        (".asc", ""),
        (".asc.sig", ".sig"),
        ("six.", ""),
        ("six.x.asc", ".asc"),
        ("", ""),
    ],
)
def test_companions_of_a_name_without_an_extension(name: str, suffix: str) -> None:
    assert split_filename(name) == (name.removesuffix(suffix), suffix)


@pytest.mark.parametrize(
    ("filename", "project", "version"),
    [
        ("six-1.0-py3-none-any.whl", "six", "1.0"),
        pytest.param("six-1.0-2build-py3-none-any.whl", "six", "1.0", id="a build number (PEP 427)"),
        pytest.param("torch-2.0+cpu-cp312-cp312-linux_x86_64.whl", "torch", "2.0+cpu", id="a local version"),
        ("six-1.0.tar.gz", "six", "1.0"),
        ("six-1.0.zip", "six", "1.0"),
        ("six-1.0.tar.bz2", "six", "1.0"),
        ("six-1.0.tgz", "six", "1.0"),
        ("SIX-1.0.TAR.GZ", "six", "1.0"),
        ("foo_bar-1.0rc1.tar.gz", "foo-bar", "1.0rc1"),
        ("foo-bar-1.0-rc1.tar.gz", "foo-bar", "1.0rc1"),
        pytest.param("foo-bar-1.0-2.tar.bz2", "foo-bar", "1.0.post2", id="a post-release with a hyphen (PEP 440)"),
        pytest.param("foo-2-1.0.tar.gz", "foo-2", "1.0", id="a number in the name"),
        ("Foo.Bar-1.0-py2.7.egg", "foo-bar", "1.0"),
        ("Foo.Bar-1.0-py2.7-linux-x86_64.egg", "foo-bar", "1.0"),
        ("Foo.Bar-1.0.win32-py2.7.exe", "foo-bar", "1.0"),
        ("Foo.Bar-1.0.win-amd64-py2.7.msi", "foo-bar", "1.0"),
        ("foo-1.0.linux-x86_64.tar.gz", "foo", "1.0"),
        ("foo-1.0.macosx-10.9-x86_64.exe", "foo", "1.0"),
        ("foo-1.0-1.noarch.rpm", "foo", "1.0"),
        pytest.param("other-1.0.tar.gz", "six", "1.0", id="another project's name"),
        pytest.param("six-unknown.tar.gz", "six", None, id="no version"),
        pytest.param("six.tar.gz", "six", None, id="no hyphen"),
        pytest.param("", "six", None, id="empty"),
        pytest.param("six-1.0.whl", "six", None, id="no wheel's name"),
        pytest.param("a__b-1.0-py3-none-any.whl", "a-b", "1.0", id="a wheel that only older installers take"),
        pytest.param(
            "six-1.0_1-py3-none-any.whl", "six", "1.0.post1", id="an escaped hyphen, as older installers have it"
        ),
        pytest.param("a__b-x-py3-none-any.whl", "a-b", None, id="an odd wheel without a version"),
    ],
)
def test_version_in(filename: str, project: str, version: str | None) -> None:
    assert version_in(filename, project, {}) == (Version(version) if version else None)


@given(st.text(max_size=40), st.sampled_from([".whl", ".tar.gz", ".egg", ".exe", ""]))
def test_version_in_takes_any_name(name: str, ending: str) -> None:
    version_in(name + ending, "six", {})
