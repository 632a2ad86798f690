# NFS 4.2, 4.1, 4.0 or 3: the kernel's own server on ext4, the kernel's clients; the lease is 10 s (90 by default).
packages="nfs-kernel-server nfs-common rpcbind quota"
memory=512M
exported=/disk/export

server() {
    mkdir -p /disk/export /disk/nfs
    chmod 1777 /disk/export
    rm -rf /var/lib/nfs
    ln -s /disk/nfs /var/lib/nfs # which clients there are outlives a power cut of the server
    echo "/disk/export *(rw,sync,root_squash,no_subtree_check,insecure,fsid=0)" >/etc/exports
    modprobe nfsd
    mount -t nfsd nfsd /proc/fs/nfsd
    statd
    for file in /proc/fs/nfsd/nfsv4leasetime /proc/fs/nfsd/nfsv4gracetime /proc/sys/fs/nfs/nlm_grace_period; do
        [ ! -e "$file" ] || echo 10 >"$file"
    done
    nfsdcld
    exportfs -ra
    rpc.mountd --manage-gids
    rpc.nfsd 8
}

client() {
    modprobe -a nfsv4 nfsv3
    statd
    case $version in 3) source=$SERVER:/disk/export ;; *) source=$SERVER:/ ;; esac
    mount -t nfs -o "vers=$version,hard" "$source" /mnt/net
}

statd() {
    mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/nfsdcld /var/lib/nfs/v4recovery /run/rpc_pipefs
    touch /var/lib/nfs/etab /var/lib/nfs/rmtab
    mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs
    rpcbind -w
    rpc.statd
}
