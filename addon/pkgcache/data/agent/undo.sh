# pypi-cache: restores what was set in this shell before env.sh. A bundle stays on disk, since other shells may use it.
_pypi_cache_undo() {
  if [ -z "${@MARK@-}" ]; then return 0; fi
  for _pypi_cache_name in @NAMES@; do
    eval "_pypi_cache_value=\${PYPI_CACHE_WAS_$_pypi_cache_name-}"
    unset "PYPI_CACHE_WAS_$_pypi_cache_name"
    if [ -n "$_pypi_cache_value" ]; then
      eval "$_pypi_cache_name=\$_pypi_cache_value"
      export "${_pypi_cache_name?}"
    else
      unset "$_pypi_cache_name"
    fi
  done
  unset @MARK@ _pypi_cache_name _pypi_cache_value
}

_pypi_cache_undo
