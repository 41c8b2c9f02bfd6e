# pypi-cache: restores what was set in this shell before env.sh. The bundle stays on disk, since other shells may use it.
_pypi_cache_undo() {
  if [ -z "${PYPI_CACHE_BUNDLE-}" ]; then return 0; fi
  for _pypi_cache_name in HTTPS_PROXY https_proxy NO_PROXY no_proxy PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; do
    eval "_pypi_cache_value=\${PYPI_CACHE_WAS_$_pypi_cache_name-}"
    unset "PYPI_CACHE_WAS_$_pypi_cache_name"
    if [ -n "$_pypi_cache_value" ]; then
      eval "$_pypi_cache_name=\$_pypi_cache_value"
      export "${_pypi_cache_name?}"
    else
      unset "$_pypi_cache_name"
    fi
  done
  unset PYPI_CACHE_BUNDLE _pypi_cache_name _pypi_cache_value
}

_pypi_cache_undo
