# pypi-cache: restores what was set in this shell before env.fish. The bundle stays on disk, since other shells may use it.
if set -q PYPI_CACHE_BUNDLE
    for name in HTTPS_PROXY https_proxy NO_PROXY no_proxy PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
        set -l before PYPI_CACHE_WAS_$name
        if set -q $before
            set -gx $name $$before
        else
            set -e $name
        end
        set -e $before
    end
    set -e PYPI_CACHE_BUNDLE
end
