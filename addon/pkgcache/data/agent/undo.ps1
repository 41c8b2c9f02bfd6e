# pypi-cache: restores what was set in this session before env.ps1. A bundle stays on disk, since other sessions may use it.
& {
    if (-not $env:@MARK@) { return }
    foreach ($name in '@NAMES@' -split ' ') {
        if ([IO.Path]::DirectorySeparatorChar -ne '/' -and $name -ceq $name.ToLower()) { continue } # on Windows case does not matter
        # An empty or missing value removes the variable.
        [Environment]::SetEnvironmentVariable($name, [Environment]::GetEnvironmentVariable("PYPI_CACHE_WAS_$name"))
        [Environment]::SetEnvironmentVariable("PYPI_CACHE_WAS_$name", $null)
    }
    [Environment]::SetEnvironmentVariable('@MARK@', $null)
}
