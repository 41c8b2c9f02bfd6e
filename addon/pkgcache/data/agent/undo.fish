# pypi-cache: restores what was set in this shell before env.fish. A bundle stays on disk, since other shells may use it.
if set -q @MARK@
    for name in @NAMES@
        set -l before PYPI_CACHE_WAS_$name
        if set -q $before
            set -gx $name $$before
        else
            set -e $name
        end
        set -e $before
    end
    set -e @MARK@
end
