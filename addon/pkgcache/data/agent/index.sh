# pypi-cache: pip, uv, pdm and pipenv in this shell take the proxy for their index. For sh, bash, dash, zsh and busybox:
#   eval "$(curl -fsS @PROXY@/env.sh || echo false)"
# The same with '@PROXY@/env.sh?undo' restores what was set before.

@ASK@
_pypi_cache_set() {
  _pypi_cache_login=
  if [ @LOGIN@ = yes ]; then _pypi_cache_ask || return 1; fi

  if [ -z "${PYPI_CACHE_INDEX-}" ]; then # remember what was set, once
    for _pypi_cache_name in @NAMES@; do
      eval "_pypi_cache_value=\${$_pypi_cache_name-}"
      if [ -n "$_pypi_cache_value" ]; then
        eval "PYPI_CACHE_WAS_$_pypi_cache_name=\$_pypi_cache_value"
        export "PYPI_CACHE_WAS_$_pypi_cache_name"
      fi
    done
  fi
  PYPI_CACHE_INDEX="@SCHEME@://${_pypi_cache_login}@AUTHORITY@/pypi/simple/"
  PIP_INDEX_URL=$PYPI_CACHE_INDEX UV_DEFAULT_INDEX=$PYPI_CACHE_INDEX PDM_PYPI_URL=$PYPI_CACHE_INDEX PIPENV_PYPI_MIRROR=$PYPI_CACHE_INDEX
  export PYPI_CACHE_INDEX PIP_INDEX_URL UV_DEFAULT_INDEX PDM_PYPI_URL PIPENV_PYPI_MIRROR
  if [ @SCHEME@ = http ]; then
    PIP_TRUSTED_HOST='@HOST@'
    export PIP_TRUSTED_HOST
  fi
}

_pypi_cache_set
