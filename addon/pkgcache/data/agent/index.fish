# pypi-cache: pip, uv, pdm and pipenv in this shell take the proxy for their index. For fish:
#   curl -fsS @PROXY@/env.fish | source
# The same with '@PROXY@/env.fish?undo' restores what was set before.

@ASK@

function _pypi_cache_set
    set -l login
    if test @LOGIN@ = yes
        set login (_pypi_cache_ask); or return 1
    end

    if not set -q PYPI_CACHE_INDEX # remember what was set, once
        for name in @NAMES@
            test -n "$$name"; and set -gx PYPI_CACHE_WAS_$name $$name
        end
    end
    set -gx PYPI_CACHE_INDEX '@SCHEME@://'"$login"'@AUTHORITY@/pypi/simple/'
    for name in PIP_INDEX_URL UV_DEFAULT_INDEX PDM_PYPI_URL PIPENV_PYPI_MIRROR
        set -gx $name $PYPI_CACHE_INDEX
    end
    test @SCHEME@ = http; and set -gx PIP_TRUSTED_HOST '@HOST@'
    return 0
end

_pypi_cache_set
