# GlusterFS: one brick on the server's ext4, FUSE clients.
packages="glusterfs-server glusterfs-client attr"
memory=768M

server() {
    mkdir -p /disk/brick /disk/glusterd /run/gluster /var/log/glusterfs
    rm -rf /var/lib/glusterd
    ln -s /disk/glusterd /var/lib/glusterd
    modprobe fuse
    glusterd
    until gluster pool list >/dev/null 2>&1; do sleep 0.2; done
    if ! gluster --mode=script volume info share >/dev/null 2>&1; then
        gluster --mode=script volume create share "$SERVER:/disk/brick" force
        gluster --mode=script volume start share
    fi
}

client() {
    mkdir -p /run/gluster /var/log/glusterfs
    modprobe fuse
    # by default names and modes are remembered for a second: another user reads what has just become private
    mount -t glusterfs -o acl,entry-timeout=0,attribute-timeout=0 "$SERVER:/share" /mnt/net
    chmod 1777 /mnt/net
}
