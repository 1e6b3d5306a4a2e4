# What a host is and has, said in one run. Reads only, needs no root; POSIX sh: dash, bash, ksh and busybox run it.
# Called as `sh -s -- NONCE URL...` with this text on stdin. Each section stands between two marks with the nonce in
# them, the second with the exit status, so that nothing that a section prints can be taken for a mark.

section() {
  _name=$1
  shift
  printf '\n@@lyc:%s:%s\n' "$nonce" "$_name"
  ("$@") 2>&1
  printf '\n@@lyc:%s:=%s\n' "$nonce" "$?"
}

has() { command -v "$1" >/dev/null 2>&1; }

# within SECONDS COMMAND...: a command that may hang on a broken device or file server.
within() {
  _seconds=$1
  shift
  if has timeout; then timeout "$_seconds" "$@"; else "$@"; fi
}

now() { date +%s.%N; }

identity() {
  printf 'system %s\nkernel %s\nmachine %s\nhostname %s\n' "$(uname -s)" "$(uname -r)" "$(uname -m)" "$(uname -n)"
  printf 'user %s\nuid %s\ngroups %s\nhome %s\n' "$(id -un)" "$(id -u)" "$(id -Gn)" "$HOME"
  printf 'shell %s\n' "$SHELL"
  if [ -d "$HOME" ] && [ -w "$HOME" ]; then printf 'home_writable yes\n'; else printf 'home_writable no\n'; fi
}

release() { cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release; }

processors() {
  printf 'nproc %s\n' "$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null)"
  printf 'listed %s\n' "$(grep -c '^processor' /proc/cpuinfo)"
  grep -m 1 -E '^model name' /proc/cpuinfo
  grep -m 1 -E '^(flags|Features)' /proc/cpuinfo
}

memory() { grep -E '^(MemTotal|MemFree|MemAvailable|Buffers|Cached|SReclaimable):' /proc/meminfo; }

level() {
  printf 'level %s\n' "$1"
  for _file in memory.max memory.current memory.limit_in_bytes memory.usage_in_bytes \
    cpu.max cpu.cfs_quota_us cpu.cfs_period_us; do
    [ -r "$1/$_file" ] && printf '%s %s\n' "$_file" "$(cat "$1/$_file")"
  done
  [ -r "$1/memory.stat" ] && grep -E '^(total_)?inactive_file ' "$1/memory.stat"
  return 0
}

# Every group above this process, innermost first: of version 2, and of version 1 those that bound memory and CPUs.
groups() {
  while IFS=: read -r _ names path; do
    top=/sys/fs/cgroup
    case ",$names," in
      ,,) ;;
      *,memory,* | *,cpu,*) top=$top/$names ;;
      *) continue ;;
    esac
    path=$top${path%/}
    while :; do
      [ -d "$path" ] && level "$path"
      [ "$path" = "$top" ] && break
      path=${path%/*}
      case $path in "$top"*) ;; *) break ;; esac
    done
  done </proc/self/cgroup
}

disks() {
  for _path in "$HOME" / /var/lib /tmp /opt; do
    printf 'path %s\n' "$_path"
    within 5 df -P -k "$_path" | tail -n +2
  done
}

libc() {
  getconf GNU_LIBC_VERSION 2>/dev/null && return
  has ldd && ldd --version
  ls /lib/ld-musl-* 2>/dev/null
}

init() {
  if [ -d /run/systemd/system ]; then
    within 5 systemctl --version | head -n 1
  else
    printf 'not systemd\n'
  fi
}

container() {
  [ -e /.dockerenv ] && printf 'docker\n'
  [ -e /run/.containerenv ] && printf 'podman\n'
  has systemd-detect-virt && systemd-detect-virt --container
}

rights() {
  has sudo || return 127
  within 5 sudo -n true
}

docker_() {
  has docker || return 127
  docker --version
  within 5 docker version --format 'server {{.Server.Version}}'
}

podman_() {
  has podman || return 127
  within 5 podman --version
}

toolkit() {
  has nvidia-ctk || return 127
  within 5 nvidia-ctk --version
}

# PCI display controllers (class 03) of NVIDIA and AMD: a card is seen here also where no driver is.
pci() {
  for _device in /sys/bus/pci/devices/*; do
    [ -r "$_device/vendor" ] || continue
    read -r _vendor <"$_device/vendor"
    case $_vendor in 0x10de | 0x1002) ;; *) continue ;; esac
    read -r _class <"$_device/class"
    read -r _id <"$_device/device"
    case $_class in 0x03*) printf '%s %s %s\n' "${_device##*/}" "$_vendor" "$_id" ;; esac
  done
}

module() { head -n 1 /proc/driver/nvidia/version; }

smi() {
  has nvidia-smi || return 127
  within 15 nvidia-smi "$@"
}

# A driver older than the field compute_cap gives no row at all; the name again keeps the number of columns.
cards() {
  _said=$(smi --query-gpu=name,memory.total,memory.free,compute_cap,uuid,driver_version --format=csv,noheader,nounits)
  _code=$?
  case $_said in
    *compute_cap*) smi --query-gpu=name,memory.total,memory.free,name,uuid,driver_version --format=csv,noheader,nounits ;;
    *)
      [ -n "$_said" ] && printf '%s\n' "$_said"
      return "$_code"
      ;;
  esac
}

tools() {
  for _tool in tar gzip sha256sum curl wget rsync flock setsid cc gcc clang python3 uv; do
    if has "$_tool"; then printf '%s yes\n' "$_tool"; else printf '%s no\n' "$_tool"; fi
  done
  _found=no
  for _file in /usr/lib/libnuma.so.1 /usr/lib64/libnuma.so.1 /lib/*/libnuma.so.1 /usr/lib/*/libnuma.so.1 \
    /run/current-system/sw/lib/libnuma.so.1; do
    [ -e "$_file" ] && _found=yes
  done
  printf 'libnuma.so.1 %s\n' "$_found"
}

# ask NUMBER URL: one line, `NUMBER MEANS STATUS`.
ask() {
  _rest=${2#*://}
  _rest=${_rest%%/*}
  _host=${_rest%:*}
  _port=443
  case $2 in http://*) _port=80 ;; esac
  case $_rest in *:*) _port=${_rest##*:} ;; esac
  if has curl; then
    curl -sS -o /dev/null -m 5 "$2" >/dev/null 2>&1
    printf '%s curl %s\n' "$1" "$?"
  elif has wget && ! wget --help 2>&1 | grep -q BusyBox; then
    within 6 wget -q -t 1 -T 5 -O /dev/null "$2" >/dev/null 2>&1
    printf '%s wget %s\n' "$1" "$?"
  elif has bash && has timeout; then
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$_host" "$_port" >/dev/null 2>&1
    printf '%s tcp %s\n' "$1" "$?"
  elif has nc && has timeout; then
    timeout 5 nc -w 4 "$_host" "$_port" </dev/null >/dev/null 2>&1
    printf '%s tcp %s\n' "$1" "$?"
  else
    printf '%s none 0\n' "$1"
  fi
}

reach() {
  _number=0
  for _url in "$@"; do
    ask "$_number" "$_url" &
    _number=$((_number + 1))
  done
  wait
}

# All of it is one function, so that the shell has read its whole text before any command could read from its stdin.
main() {
  nonce=$1
  shift
  LC_ALL=C
  PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/nvidia/bin:/opt/bin
  PATH=$PATH:/run/current-system/sw/bin:/usr/lib/wsl/lib
  export LC_ALL PATH
  section begin now
  section identity identity
  section release release
  section boot cat /proc/sys/kernel/random/boot_id
  section processors processors
  section memory memory
  section groups groups
  section disks disks
  section libc libc
  section init init
  section container container
  section rights rights
  section docker docker_
  section podman podman_
  section toolkit toolkit
  section pci pci
  section module module
  section cards cards
  section cuda smi
  section list smi -L
  section mig smi --query-gpu=uuid,mig.mode.current --format=csv,noheader
  section apps smi --query-compute-apps=gpu_uuid,pid,process_name,used_memory --format=csv,noheader,nounits
  section tools tools
  section reach reach "$@"
  section end now
}

main "$@" </dev/null
exit 0
