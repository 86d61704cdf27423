# What the development commands need beyond Go and git, as Debian packages;
# sourced, not run.

# Compilers for generated code and for the mutants of the C code. The major
# version of clang is fixed, because the committed objects must come out the same.
generate_packages=(clang-19 llvm-19 libbpf-dev libc6-dev protobuf-compiler)

# The race detector is C code that the Go linker takes in.
race_packages=(gcc libc6-dev)

# Traffic, captures and peers that are not ours.
test_packages=(openvswitch-switch openvswitch-vtep make iproute2 iputils-ping traceroute curl openssl iperf3 tcpdump ethtool nftables strace socat bird2 frr procps util-linux systemd)

# The clients that operators use, a Keystone, and OpenStack's own tests. None of
# these starts anything.
client_packages=(python3-openstackclient python3-neutronclient python3-networking-l2gw python3-keystone tempest)

# Namespaces and the rules of the reference variant.
bench_packages=(iproute2 iputils-ping nftables procps util-linux)

# Neutron with its database as a yardstick; neutron-common itself is only unpacked.
bench_api_packages=(python3-neutron python3-pymysql mariadb-server-core mariadb-client-core)

# Debian packages of Causeway itself.
packaging_packages=(debhelper dpkg-dev)

# A Debian to install them on.
packages_test_packages=(mmdebstrap systemd)
