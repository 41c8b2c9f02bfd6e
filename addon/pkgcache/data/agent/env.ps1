# pypi-cache: pip, uv, poetry, pdm and pipenv in this session use the proxy. For Windows PowerShell 5.1 and PowerShell 7:
#   irm @PROXY@/env.ps1 | iex
# The same with '@PROXY@/env.ps1?undo' restores what was set before.
& {
    $ErrorActionPreference = 'Stop'

@ASK@
    # The bundle is renamed into place, since other sessions may be reading it.
    function Get-Bundle([string] $folder) {
        $bundle = Join-Path $folder 'pypi-cache-bundle.pem'
        $part = Join-Path $folder ('pypi-cache-bundle.' + [IO.Path]::GetRandomFileName())
        $null = New-Item -ItemType Directory -Force -Path $folder
        $null = New-Item -ItemType File -Path $part
        try {
            $client = New-Object Net.WebClient
            $client.Proxy = $null # another proxy must not come between this session and pypi-cache
            $client.DownloadFile('@PROXY@/bundle.pem', $part)
            Move-Item -Force -LiteralPath $part -Destination $bundle
        } finally {
            Remove-Item -Force -LiteralPath $part -ErrorAction SilentlyContinue
        }
        $bundle
    }

    $folder = if ($env:PYPI_CACHE_BUNDLE) { Split-Path -Parent $env:PYPI_CACHE_BUNDLE }
        elseif ($env:LOCALAPPDATA) { $env:LOCALAPPDATA }
        elseif ($env:XDG_CACHE_HOME) { $env:XDG_CACHE_HOME }
        elseif ($env:HOME) { Join-Path $env:HOME '.cache' }
    try {
        if (-not $folder) { throw 'no folder' }
        $bundle = Get-Bundle $folder
    } catch [Net.WebException] {
        throw
    } catch {
        $folder = Join-Path ([IO.Path]::GetTempPath()) ('pypi-cache.' + [IO.Path]::GetRandomFileName())
        Write-Warning "pypi-cache: no cache folder can be written to; the bundle is in $folder"
        $bundle = Get-Bundle $folder
    }

    $names = 'HTTPS_PROXY', 'NO_PROXY', 'PIP_CERT', 'SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE'
    if ([IO.Path]::DirectorySeparatorChar -eq '/') { $names += 'https_proxy', 'no_proxy' } # on Windows case does not matter
    if (-not $env:PYPI_CACHE_BUNDLE) {
        foreach ($name in $names) {
            $value = [Environment]::GetEnvironmentVariable($name)
            if ($value) { [Environment]::SetEnvironmentVariable("PYPI_CACHE_WAS_$name", $value) }
        }
    }
    $direct = @("$env:NO_PROXY" -split ',' | Where-Object { $_ })
    foreach ($each in 'localhost', '127.0.0.1', '::1') { if ($direct -notcontains $each) { $direct += $each } }
    $env:PYPI_CACHE_BUNDLE = $bundle
    foreach ($name in $names) {
        $value = switch ($name) {
            'HTTPS_PROXY' { '@SCHEME@://' + $login + '@AUTHORITY@' }
            'NO_PROXY' { $direct -join ',' }
            default { $bundle }
        }
        [Environment]::SetEnvironmentVariable($name, $value)
    }
}
