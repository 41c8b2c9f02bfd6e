# pypi-cache: pip, uv, poetry, pdm and pipenv in this shell use the proxy. For sh, bash, dash, zsh and busybox, with curl, wget or Python:
#   eval "$(curl -fsS @PROXY@/env.sh || echo false)"
#   eval "$(wget -qO- @PROXY@/env.sh || echo false)"
# The same with '@PROXY@/env.sh?undo' restores what was set before.

# Fetches the bundle into folder $1. It is renamed into place, since other shells may be reading it. Status 2: no file can be written there.
_pypi_cache_fetch() {
  [ -n "$1" ] && _pypi_cache_part=$(mktemp "$1/pypi-cache-bundle.XXXXXX" 2>/dev/null) || return 2
  if (
    unset http_proxy HTTP_PROXY all_proxy ALL_PROXY # another proxy must not come between this shell and pypi-cache
    if command -v curl >/dev/null; then
      curl -fsS --noproxy '*' -o "$_pypi_cache_part" '@PROXY@/bundle.pem'
    elif command -v wget >/dev/null; then
      wget -q -O "$_pypi_cache_part" '@PROXY@/bundle.pem'
    else
      _pypi_cache_python=$(command -v python3 || command -v python) &&
        "$_pypi_cache_python" -c 'import sys, urllib.request as r; open(sys.argv[2], "wb").write(r.urlopen(sys.argv[1]).read())' \
          '@PROXY@/bundle.pem' "$_pypi_cache_part"
    fi
  ) && chmod 644 "$_pypi_cache_part" && mv -f "$_pypi_cache_part" "$1/pypi-cache-bundle.pem"; then
    return 0
  fi
  rm -f "$_pypi_cache_part"
  echo 'pypi-cache: cannot fetch @PROXY@/bundle.pem by curl, wget or Python; nothing has been changed' >&2
  return 1
}

@ASK@
_pypi_cache_set() {
  _pypi_cache_login=
  if [ @LOGIN@ = yes ]; then _pypi_cache_ask || return 1; fi

  _pypi_cache_folder=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  if [ -n "${PYPI_CACHE_BUNDLE-}" ]; then _pypi_cache_folder=${PYPI_CACHE_BUNDLE%/*}; fi
  if [ -n "$_pypi_cache_folder" ]; then mkdir -p "$_pypi_cache_folder" 2>/dev/null || :; fi
  _pypi_cache_status=0
  _pypi_cache_fetch "$_pypi_cache_folder" || _pypi_cache_status=$?
  if [ "$_pypi_cache_status" = 2 ]; then
    _pypi_cache_folder=$(mktemp -d "${TMPDIR:-/tmp}/pypi-cache.XXXXXX") || return 1
    echo "pypi-cache: neither HOME nor XDG_CACHE_HOME can be written to; the bundle is in $_pypi_cache_folder" >&2
    _pypi_cache_status=0
    _pypi_cache_fetch "$_pypi_cache_folder" || _pypi_cache_status=$?
  fi
  [ "$_pypi_cache_status" = 0 ] || return 1

  if [ -z "${PYPI_CACHE_BUNDLE-}" ]; then # remember what was set, once
    for _pypi_cache_name in @NAMES@; do
      eval "_pypi_cache_value=\${$_pypi_cache_name-}"
      if [ -n "$_pypi_cache_value" ]; then
        eval "PYPI_CACHE_WAS_$_pypi_cache_name=\$_pypi_cache_value"
        export "PYPI_CACHE_WAS_$_pypi_cache_name"
      fi
    done
  fi
  PYPI_CACHE_BUNDLE=$_pypi_cache_folder/pypi-cache-bundle.pem
  HTTPS_PROXY=@PROXY@
  if [ -n "$_pypi_cache_login" ]; then HTTPS_PROXY="@SCHEME@://${_pypi_cache_login}@AUTHORITY@"; fi
  https_proxy=$HTTPS_PROXY
  NO_PROXY=${no_proxy:-${NO_PROXY-}}
  for _pypi_cache_name in localhost 127.0.0.1 ::1; do
    case ",$NO_PROXY," in
      *",$_pypi_cache_name,"*) ;;
      *) NO_PROXY=${NO_PROXY:+$NO_PROXY,}$_pypi_cache_name ;;
    esac
  done
  no_proxy=$NO_PROXY
  PIP_CERT=$PYPI_CACHE_BUNDLE SSL_CERT_FILE=$PYPI_CACHE_BUNDLE REQUESTS_CA_BUNDLE=$PYPI_CACHE_BUNDLE CURL_CA_BUNDLE=$PYPI_CACHE_BUNDLE
  export PYPI_CACHE_BUNDLE @NAMES@
}

_pypi_cache_set
