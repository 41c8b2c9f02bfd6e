    $login = ''
    if ('@LOGIN@' -eq 'yes') {
        $user = $env:PYPI_CACHE_USER
        $password = $env:PYPI_CACHE_PASSWORD
        if (-not $user -or -not $password) {
            $credential = (Get-Credential -Message 'Login for pypi-cache').GetNetworkCredential()
            $user = $credential.UserName
            $password = $credential.Password
        }
        $login = [Uri]::EscapeDataString($user) + ':' + [Uri]::EscapeDataString($password) + '@'
    }
