# CephFS: one monitor, one metadata server and one object store (a file on ext4), the kernel's clients; no keys.
packages="ceph-mon ceph-mds ceph-osd ceph-common"
memory=1536M
id=6b5c6b3e-0000-4000-8000-000000000001

configure() {
    mkdir -p /etc/ceph /run/ceph /var/log/ceph
    cat >/etc/ceph/ceph.conf <<CONF
[global]
fsid = $id
mon_host = v1:$SERVER:6789
ms_bind_msgr2 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
osd_crush_chooseleaf_type = 0
osd_crush_update_on_start = false
osd_class_update_on_start = false
osd_memory_target = 939524096
bluestore_block_size = 4294967296
CONF
}

server() {
    configure
    mkdir -p /disk/mon /disk/osd /disk/mds
    if [ ! -e /disk/mon/store.db ]; then
        monmaptool --create --clobber --fsid "$id" --addv a "[v1:$SERVER:6789]" /disk/monmap
        ceph-mon --mkfs -i a --monmap /disk/monmap --mon-data /disk/mon
    fi
    ceph-mon -i a --mon-data /disk/mon --public-addr "v1:$SERVER:6789"
    if [ ! -e /disk/osd/ready ]; then
        ceph osd new "$id"
        ceph-osd -i 0 --mkfs --osd-uuid "$id" --osd-data /disk/osd
    fi
    ceph-osd -i 0 --osd-data /disk/osd
    ceph osd crush add osd.0 1 host=S root=default
    ceph-mds -i a --mds-data /disk/mds
    if ! ceph fs get share >/dev/null 2>&1; then
        ceph osd pool create metadata 8
        ceph osd pool create data 8
        ceph fs new share metadata data
    fi
    until ceph mds stat | grep up:active; do sleep 0.5; done
}

client() {
    configure
    modprobe ceph
    mount -t ceph "$SERVER:6789:/" /mnt/net -o name=admin
    chmod 1777 /mnt/net
}
