#include "fs.h"
#include "process.h"
#include "signal.h"
#include "blk.h"
#include "printk.h"
#include "arch.h"
#include "time.h"
#include "net.h"
#include "lib.h"
#include "errno.h"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wunused-parameter"
struct process *the_process;
struct file *anon_file(const struct file_ops *ops, void *priv, u32 flags, u32 mode, const char *name){return 0;}
void console_init(void){}
int fd_close(int fd){return 0;}
struct file *fd_get(int fd){return 0;}
int fd_install(struct file *f, int min, bool c){return -1;}
struct file *file_get(struct file *f){return f;}
void file_put(struct file *f){}
struct page *pagecache_fault(struct file *f, u64 i, bool w){return 0;}
void process_kill(int s){}
int process_start_init(void){return -38;}
void signal_deliver(struct regs *r){}
void signal_fault(int s,int c,uptr a,struct regs*r){panic("fault");}
bool signal_pending(const struct thread *t){return 0;}
int signal_thread(struct thread *t,int s,const struct siginfo_k*i){return 0;}
int timespec_from_user(uptr p,u64*n){return 0;}
void vfs_sync_all(void){}
int vfs_write_file(const char *p,const void *d,size_t n,u32 m,u32 u,u32 g){return 0;}
char b[1024];int vfs_init(void){
 for (struct list *n=blkdevs.next;n!=&blkdevs;n=n->next){struct blkdev*d=list_entry(n,struct blkdev,node);
   int e=blk_read(d,2,b,1024); printk(LOG_WARNING,"%s %lu ser=%s e=%d magic %x%x ro=%d\n",d->name,d->sectors,d->serial,e,(u8)b[57],(u8)b[56],d->readonly);
  u64 t=clock_mono_ns(); for(int i=0;i<1000;i++) e|=blk_read(d,i*2,b,1024); printk(LOG_WARNING,"1000 reads %lu us e=%d\n",(clock_mono_ns()-t)/1000,e);
 }
 char t[512]; size_t k=net_resolv_conf(t,512); t[k]=0; printk(LOG_WARNING,"%s",t);
 sleep_until(clock_mono_ns()+8*NSEC_PER_SEC,false);
 return 0;}
unsigned __int128 __udivti3(unsigned __int128 a, unsigned __int128 b){return (u64)a/(u64)b;}
