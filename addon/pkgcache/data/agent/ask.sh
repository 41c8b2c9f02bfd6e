# Sets _pypi_cache_login to the percent-encoded user and password, which it asks for on a terminal.
_pypi_cache_ask() {
  if [ -z "${PYPI_CACHE_USER-}" ] || [ -z "${PYPI_CACHE_PASSWORD-}" ]; then
    if ! [ -t 0 ]; then
      echo 'pypi-cache: this proxy requires a login: set PYPI_CACHE_USER and PYPI_CACHE_PASSWORD first' >&2
      return 1
    fi
    printf 'user name for pypi-cache: ' >&2 && read -r PYPI_CACHE_USER
    printf 'password: ' >&2 && stty -echo && read -r PYPI_CACHE_PASSWORD
    stty echo
    echo >&2
  fi
  _pypi_cache_login=$(printf %s "$PYPI_CACHE_USER" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g'):$(
    printf %s "$PYPI_CACHE_PASSWORD" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g'
  )@
}
