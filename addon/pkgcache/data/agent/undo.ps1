# pypi-cache: restores what was set in this session before env.ps1. The bundle stays on disk, since other sessions may use it.
& {
    if (-not $env:PYPI_CACHE_BUNDLE) { return }
    $names = 'HTTPS_PROXY', 'NO_PROXY', 'PIP_CERT', 'SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE'
    if ([IO.Path]::DirectorySeparatorChar -eq '/') { $names += 'https_proxy', 'no_proxy' }
    foreach ($name in $names) {
        # An empty or missing value removes the variable.
        [Environment]::SetEnvironmentVariable($name, [Environment]::GetEnvironmentVariable("PYPI_CACHE_WAS_$name"))
        [Environment]::SetEnvironmentVariable("PYPI_CACHE_WAS_$name", $null)
    }
    [Environment]::SetEnvironmentVariable('PYPI_CACHE_BUNDLE', $null)
}
