# Prints the percent-encoded user and password, which it asks for on a terminal.
function _pypi_cache_ask
    set -l user $PYPI_CACHE_USER
    set -l password $PYPI_CACHE_PASSWORD
    if test -z "$user"; or test -z "$password"
        if not test -t 2
            echo 'pypi-cache: this proxy requires a login: set PYPI_CACHE_USER and PYPI_CACHE_PASSWORD first' >&2
            return 1
        end
        read -P 'user name for pypi-cache: ' user </dev/tty; and read -s -P 'password: ' password </dev/tty; or return 1
    end
    echo (string escape --style=url -- $user | string replace -a / %2F):(string escape --style=url -- $password | string replace -a / %2F)@
end
