# pypi-cache: pip, uv, poetry, pdm and pipenv in this shell use the proxy. For fish, with curl, wget or Python:
#   curl -fsS @PROXY@/env.fish | source
# The same with '@PROXY@/env.fish?undo' restores what was set before.

# Fetches the bundle into folder $argv[1]. It is renamed into place, since other shells may be reading it. Status 2: nothing can be written there.
function _pypi_cache_fetch
    test -n "$argv[1]"; and set -f part (mktemp "$argv[1]/pypi-cache-bundle.XXXXXX" 2>/dev/null); or return 2
    begin
        # Another proxy must not come between this shell and pypi-cache. An empty variable counts as none.
        set -lx http_proxy; set -lx HTTP_PROXY; set -lx all_proxy; set -lx ALL_PROXY
        if command -q curl
            curl -fsS --noproxy '*' -o $part '@PROXY@/bundle.pem'
        else if command -q wget
            wget -q -O $part '@PROXY@/bundle.pem'
        else
            set -l python (command -s python3; or command -s python)
            and $python -c 'import sys, urllib.request as r; open(sys.argv[2], "wb").write(r.urlopen(sys.argv[1]).read())' \
                '@PROXY@/bundle.pem' $part
        end
    end
    and chmod 644 $part; and mv -f $part "$argv[1]/pypi-cache-bundle.pem"; and return 0
    rm -f $part
    echo 'pypi-cache: cannot fetch @PROXY@/bundle.pem by curl, wget or Python; nothing has been changed' >&2
    return 1
end

@ASK@
function _pypi_cache_set
    set -l login
    if test @LOGIN@ = yes
        set login (_pypi_cache_ask); or return 1
    end

    set -l folder
    if set -q PYPI_CACHE_BUNDLE
        set folder (string replace -r '/[^/]*$' '' -- $PYPI_CACHE_BUNDLE)
    else if test -n "$XDG_CACHE_HOME"
        set folder $XDG_CACHE_HOME
    else if test -n "$HOME"
        set folder $HOME/.cache
    end
    test -n "$folder"; and mkdir -p $folder 2>/dev/null
    _pypi_cache_fetch "$folder"
    set -l state $status
    if test $state = 2
        set -l temporary /tmp
        test -n "$TMPDIR"; and set temporary $TMPDIR
        set folder (mktemp -d $temporary/pypi-cache.XXXXXX); or return 1
        echo "pypi-cache: neither HOME nor XDG_CACHE_HOME can be written to; the bundle is in $folder" >&2
        _pypi_cache_fetch $folder
        set state $status
    end
    test $state = 0; or return 1

    if not set -q PYPI_CACHE_BUNDLE # remember what was set, once
        for name in @NAMES@
            test -n "$$name"; and set -gx PYPI_CACHE_WAS_$name $$name
        end
    end
    set -gx PYPI_CACHE_BUNDLE $folder/pypi-cache-bundle.pem
    set -gx HTTPS_PROXY '@SCHEME@://'"$login"'@AUTHORITY@'
    set -gx https_proxy $HTTPS_PROXY
    set -l direct
    test -n "$NO_PROXY"; and set direct (string split , -- $NO_PROXY)
    test -n "$no_proxy"; and set direct (string split , -- $no_proxy)
    for host in localhost 127.0.0.1 ::1
        contains -- $host $direct; or set -a direct $host
    end
    set -gx NO_PROXY (string join , -- $direct)
    set -gx no_proxy $NO_PROXY
    for name in PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
        set -gx $name $PYPI_CACHE_BUNDLE
    end
end

_pypi_cache_set
