# Prints the part of a lock file that one layer of the image has, as `awk -v part=PART -f parts.awk LOCK`: pip's own tools,
# what CUDA brings, torch, or the rest. Every package is in one part.
function part_of(name) {
    if (name ~ /^(pip|setuptools)$/) return "tools"
    if (name ~ /^(nvidia-|cuda-|triton$)/) return "cuda"
    if (name ~ /^(torch|torchvision)$/) return "torch"
    return "rest"
}
/^[A-Za-z0-9]/ { name = $1; sub(/[=\[].*/, "", name); keep = part_of(tolower(name)) == part }
keep
