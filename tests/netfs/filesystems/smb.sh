# SMB 3.1.1: Samba, the kernel's clients, which all log in as one account: the server cannot tell users apart.
packages="samba cifs-utils"
memory=512M
exported=/disk/export

server() {
    mkdir -p /disk/export /var/lib/samba/private /var/cache/samba /run/samba /var/log/samba
    chmod 1777 /disk/export
    cat >/etc/samba/smb.conf <<CONF
[global]
server role = standalone
unix extensions = yes
kernel oplocks = no
[share]
path = /disk/export
read only = no
CONF
    printf 'word\nword\n' | smbpasswd -s -a u1
    smbd -D
    until ss -Hltn | grep -q :445; do sleep 0.2; done
}

client() {
    modprobe cifs
    mount -t cifs "//$SERVER/share" /mnt/net -o user=u1,pass=word,vers=3.1.1,mfsymlinks,file_mode=0666,dir_mode=0777
}
