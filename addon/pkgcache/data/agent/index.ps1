# pypi-cache: pip, uv, pdm and pipenv in this session take the proxy for their index. For Windows PowerShell 5.1 and PowerShell 7:
#   irm @PROXY@/env.ps1 | iex
# The same with '@PROXY@/env.ps1?undo' restores what was set before.
& {
    $ErrorActionPreference = 'Stop'

@ASK@
    if (-not $env:PYPI_CACHE_INDEX) {
        foreach ($name in '@NAMES@' -split ' ') {
            $value = [Environment]::GetEnvironmentVariable($name)
            if ($value) { [Environment]::SetEnvironmentVariable("PYPI_CACHE_WAS_$name", $value) }
        }
    }
    $env:PYPI_CACHE_INDEX = '@SCHEME@://' + $login + '@AUTHORITY@/pypi/simple/'
    foreach ($name in 'PIP_INDEX_URL', 'UV_DEFAULT_INDEX', 'PDM_PYPI_URL', 'PIPENV_PYPI_MIRROR') {
        [Environment]::SetEnvironmentVariable($name, $env:PYPI_CACHE_INDEX)
    }
    if ('@SCHEME@' -eq 'http') { $env:PIP_TRUSTED_HOST = '@HOST@' }
}
