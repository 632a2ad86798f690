# MooseFS: master and one chunk server, FUSE clients.
packages="moosefs-master moosefs-chunkserver moosefs-client"
memory=1G

server() {
    mkdir -p /disk/master /disk/chunks /disk/chunkserver /etc/mfs
    chown mfs:mfs /disk/*
    [ -e /disk/master/metadata.mfs ] || [ -e /disk/master/metadata.mfs.back ] || printf 'MFSM NEW' >/disk/master/metadata.mfs
    echo "* / rw,alldirs,admin,maproot=0" >/etc/mfs/mfsexports.cfg
    : >/etc/mfs/mfstopology.cfg
    printf 'DATA_PATH=/disk/master\n' >/etc/mfs/mfsmaster.cfg
    printf 'DATA_PATH=/disk/chunkserver\nMASTER_HOST=%s\n' "$SERVER" >/etc/mfs/mfschunkserver.cfg
    printf 'HDD_LEAVE_SPACE_DEFAULT=64MiB\n' >>/etc/mfs/mfschunkserver.cfg
    echo /disk/chunks >/etc/mfs/mfshdd.cfg
    mfsmaster -a start
    mfschunkserver start
}

client() {
    modprobe fuse
    mfsmount /mnt/net -H "$SERVER" -o allow_other
    chmod 1777 /mnt/net
}
