"""What the tests of the dataset converters share."""

from tests.processes import load_tool


def caller(name, capsys, *small):
    """``run(*argv)`` of a converter: its exit code, output and errors."""
    tool = load_tool(f'dataset_converters/{name}')

    def run(*argv):
        capsys.readouterr()
        code = tool.main([str(word) for word in argv], *small)
        return code, *capsys.readouterr()

    return run


def rows(out):
    """Found, expected and verdict by part, from the printed table."""
    table = {}
    for line in out.split('\n\n')[0].splitlines()[1:]:
        *part, found, expected, verdict = line.split()
        table[' '.join(part)] = (int(found), int(expected), verdict)
    return table


def state(folder):
    """Every file and folder with what a write would change."""
    return {
        path: (path.lstat().st_mtime_ns, path.lstat().st_ino, path.lstat().st_size)
        for path in [folder, *folder.rglob('*')]
    }


def cut(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
